"""Nested frozen dataclasses as YAML and back, exactly: `parse(type(c), render(c)) == c`.

A config is a tree of frozen dataclasses whose leaves are bool, int, float, str, enums, literals, paths, None and
tuples of these. A dataclass in a union is told from its siblings by a `kind` key, its class name in kebab case: a field
declared `Constant | LinearRamp` is written `{kind: linear-ramp, …}`. Reading is strict, because a misspelt key that is
silently ignored costs an hour of training: unknown keys, missing keys and wrong types raise `UserError` naming the file
and the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from rilievo.errors import UserError, clear

T = TypeVar("T")

KIND = "kind"


def plain(value: Any, declared: Any) -> Any:
    """Turn a config value of the declared type into dicts, lists and scalars that YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        fields = {f.name: plain(getattr(value, f.name), hints[f.name]) for f in dataclasses.fields(value) if f.init}
        return {KIND: kind(type(value)), **fields} if _needs_kind(declared) else fields
    if isinstance(value, tuple):
        return [plain(v, t) for v, t in zip(value, _item_types(declared, len(value)), strict=True)]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return value


def build(declared: type[T], data: Any, where: str) -> T:
    """Turn plain YAML data into a value of the declared type; `where` names the file, then the key, in errors."""
    return _build(declared, data, where, "")


def render(config: Any) -> str:
    """The YAML text of a config dataclass."""
    return dump(plain(config, type(config)))


def parse(declared: type[T], text: str, where: str = "config") -> T:
    """The config that `text` describes. Raises `UserError` for anything that is not exactly a `declared`."""
    return build(declared, load(text, where), where)


def dump(data: Any) -> str:
    """Plain data as YAML, keys in the order given."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def load(text: str, where: str) -> Any:
    """Plain data from YAML; `where` names the file in the error for text that is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"a mistake in line {mark.line + 1}" if mark else "text that cannot be parsed"
        raise clear(where, expected="YAML", got=line, do="mend the file, or start again with `rilievo fit`") from error


def kind(cls: type) -> str:
    """The `kind` that stands for a dataclass: its class name in kebab case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()


def _build(declared: Any, data: Any, where: str, key: str) -> Any:
    options = _options(declared)
    if len(options) > 1:
        return _build_union(options, data, where, key)
    (declared,) = options
    if dataclasses.is_dataclass(declared):
        return _build_dataclass(declared, data, where, key)
    if get_origin(declared) is tuple:
        return _build_tuple(declared, data, where, key)
    if get_origin(declared) is Literal:
        if not any(data == v and type(data) is type(v) for v in get_args(declared)):
            raise _wrong(where, key, "one of " + ", ".join(map(repr, get_args(declared))), data)
        return data
    if isinstance(declared, type) and issubclass(declared, Enum):
        if data not in [v.value for v in declared]:
            raise _wrong(where, key, "one of " + ", ".join(str(v.value) for v in declared), data)
        return declared(data)
    return _build_scalar(declared, data, where, key)


def _build_dataclass(declared: Any, data: Any, where: str, key: str) -> Any:
    if not isinstance(data, Mapping):
        raise _wrong(where, key, f"the settings of {declared.__name__}", data)
    fields = {f.name: f for f in dataclasses.fields(declared) if f.init}
    for name in data:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1, cutoff=0.0)
            raise clear(
                f"{where}: unknown key {_join(key, name)!r}",
                expected="one of " + ", ".join(fields),
                got=repr(name),
                do=f"did you mean {_join(key, near[0])!r}?" if near else "remove it",
            )
    hints = get_type_hints(declared)
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in data and not optional:
            raise _wrong(where, _join(key, name), "a value", "nothing")
    try:
        return declared(**{name: _build(hints[name], data[name], where, _join(key, name)) for name in data})
    except UserError:
        raise
    except ValueError as error:  # from __post_init__: the values fit their types, not each other
        raise UserError(f"{where}: {key or declared.__name__}: {error}") from error


def _build_union(options: tuple[Any, ...], data: Any, where: str, key: str) -> Any:
    classes = {kind(o): o for o in options if isinstance(o, type) and dataclasses.is_dataclass(o)}
    if data is None and type(None) in options:
        return None
    if isinstance(data, Mapping) and classes:
        if len(classes) == 1 and KIND not in data:
            return _build_dataclass(next(iter(classes.values())), data, where, key)
        if data.get(KIND) not in classes:
            raise _wrong(where, _join(key, KIND), "one of " + ", ".join(classes), data.get(KIND, "nothing"))
        rest = {name: value for name, value in data.items() if name != KIND}
        return _build_dataclass(classes[data[KIND]], rest, where, key)
    exact = [o for o in options if o is type(data)]  # 1 in `int | float` stays an int, 1.0 a float
    for option in [*exact, *(o for o in options if o is not type(None))]:
        try:
            return _build(option, data, where, key)
        except UserError:
            continue
    raise _wrong(where, key, " or ".join(_name(o) for o in options), data)


def _build_tuple(declared: Any, data: Any, where: str, key: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise _wrong(where, key, "a list", data)
    arguments = get_args(declared)
    if not (len(arguments) == 2 and arguments[1] is Ellipsis) and len(data) != len(arguments):
        raise _wrong(where, key, f"a list of {len(arguments)} values", data)
    types_ = _item_types(declared, len(data))
    return tuple(_build(t, item, where, f"{key}[{i}]") for i, (t, item) in enumerate(zip(types_, data, strict=True)))


def _build_scalar(declared: Any, data: Any, where: str, key: str) -> Any:
    if declared is float and type(data) is int:
        return float(data)
    if declared is Path and isinstance(data, str):
        return Path(data)
    if type(data) is not declared:
        raise _wrong(where, key, _name(declared), data)
    return data


def _options(declared: Any) -> tuple[Any, ...]:
    return get_args(declared) if get_origin(declared) in (Union, types.UnionType) else (declared,)


def _needs_kind(declared: Any) -> bool:
    return sum(dataclasses.is_dataclass(o) for o in _options(declared)) > 1


def _item_types(declared: Any, length: int) -> tuple[Any, ...]:
    for option in _options(declared):
        if get_origin(option) is tuple:
            arguments = get_args(option)
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return (arguments[0],) * length
            if len(arguments) == length:
                return arguments
    raise AssertionError(f"a tuple of {length} values in a field declared {declared}")


def _join(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _name(declared: Any) -> str:
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    return known.get(declared, "null" if declared is type(None) else getattr(declared, "__name__", str(declared)))


def _wrong(where: str, key: str, expected: str, got: Any) -> UserError:
    return clear(
        f"{where}: {key or 'the file'}", expected=expected, got=repr(got), do="mend the file or remove the key"
    )


class _Loader(yaml.SafeLoader):
    """YAML whose floats may be written 1e-3, as everyone writes them (YAML 1.1 reads that as text)."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that looks like such a float."""


_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
