"""What a network is made of, as its checkpoint says: a constructor call in text, or the hub's `config.json`.

Both name the same arguments. The text is parsed, never run: a call with keyword arguments whose values are numbers,
strings, booleans, `inf` and tuples of these. Whatever a checkpoint says of mixed orientations in a batch
(`landscape_only`, `patch_embed_cls`) is about its training: here a batch says itself which pictures lie sideways.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from rilievo.errors import UserError, clear

from .activations import Bounded

Head = Literal["linear", "dpt", "catmlp+dpt"]
Value = bool | int | float | str | None | tuple["Value", ...]

ARCHITECTURES = ("AsymmetricMASt3R", "AsymmetricCroCo3DStereo")

_IRRELEVANT = {"landscape_only", "patch_embed_cls", "freeze"}
"""Arguments about training and batching."""

_FIXED: dict[str, Value] = {"mlp_ratio": 4, "norm_im2_in_dec": True, "desc_mode": "norm", "patch_size": 16}
"""Arguments that every published network leaves at these values, and we do not vary."""


@dataclass(frozen=True)
class Tower:
    """A stack of transformer blocks."""

    channels: int
    depth: int
    heads: int

    @property
    def head_channels(self) -> int:
        return self.channels // self.heads


@dataclass(frozen=True)
class DptConfig:
    """Widths of the convolutional head (see `dpt_head`)."""

    hooks: tuple[int, int, int, int]
    """The layers it looks at: 0 is the encoder's output, k decoder block k."""
    layer_channels: tuple[int, int, int, int] = (96, 192, 384, 768)
    channels: int = 256
    last_channels: int = 128

    @staticmethod
    def published(decoder_depth: int) -> DptConfig:
        return DptConfig(hooks=(0, decoder_depth * 2 // 4, decoder_depth * 3 // 4, decoder_depth))


@dataclass(frozen=True)
class NetworkConfig:
    """A network's shape and the meaning of its output."""

    encoder: Tower
    decoder: Tower
    head: Head
    image_px: int
    """Long side of the photos it was trained on (224: the side of a square)."""
    dpt: DptConfig
    rope_base: float = 100.0
    patch_px: int = 16
    depth_mode: Bounded = Bounded("exp")
    conf_mode: Bounded = Bounded("exp", 1.0)
    descriptor_channels: int = 0
    """0 where the network has no descriptors."""
    desc_conf_mode: Bounded | None = None
    """None where descriptors have no confidence of their own."""

    @property
    def hooks(self) -> tuple[int, ...]:
        """The layers that the head looks at."""
        return (self.decoder.depth,) if self.head == "linear" else self.dpt.hooks

    @staticmethod
    def from_constructor(text: str) -> NetworkConfig:
        """The network that a checkpoint's `args.model` describes. Raises `UserError` for any other text."""
        name, arguments = parse_constructor(text)
        if name not in ARCHITECTURES:
            raise _not_ours(f"a network called {name}")
        return NetworkConfig.from_arguments(arguments)

    @staticmethod
    def from_arguments(arguments: Mapping[str, Value]) -> NetworkConfig:
        """The network of a constructor's keyword arguments, which are also the keys of the hub's `config.json`.

        Raises `UserError` naming an argument that is missing, unknown, or of a kind that no published network has.
        """
        given = _Arguments(arguments)
        encoder = given.tower("enc", 1024, 24, 16)
        decoder = given.tower("dec", 768, 12, 12)
        head, channels = given.head()
        return NetworkConfig(
            encoder=encoder,
            decoder=decoder,
            head=head,
            image_px=given.image_px(),
            dpt=DptConfig.published(decoder.depth),
            rope_base=given.rope_base(),
            depth_mode=given.bounded("depth_mode", ("exp", -math.inf, math.inf), ("exp", "square", "linear")),
            conf_mode=(conf_mode := given.bounded("conf_mode", ("exp", 1, math.inf), ("exp", "sigmoid"))),
            descriptor_channels=channels,
            desc_conf_mode=given.descriptor_confidence(conf_mode) if channels else None,
        )


def parse_constructor(text: str) -> tuple[str, dict[str, Value]]:
    """Name and keyword arguments of a call such as `Net(depth=3, mode=('exp', -inf, inf))`, without running it."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise _not_ours(f"the text {text[:80]!r}") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise _not_ours(f"the text {text[:80]!r}")
    arguments: dict[str, Value] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise _not_ours(f"the text {text[:80]!r}")
        arguments[keyword.arg] = _literal(keyword.value)
    return call.func.id, arguments


def _literal(node: ast.expr) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.Name(id="inf"):
            return math.inf
        case ast.UnaryOp(op=ast.USub(), operand=operand) if isinstance(number := _literal(operand), int | float):
            return -number
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str() as value)]):
            return float(value)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return tuple(_literal(part) for part in parts)
    raise _not_ours(f"the value {ast.unparse(node)[:80]!r}")


class _Arguments:
    """Keyword arguments, each read once with its check."""

    def __init__(self, arguments: Mapping[str, Value]) -> None:
        known = {f"{tower}_{part}" for tower in ("enc", "dec") for part in ("embed_dim", "depth", "num_heads")}
        known |= {"head_type", "output_mode", "img_size", "pos_embed", "depth_mode", "conf_mode"}
        known |= {"two_confs", "desc_conf_mode", *_IRRELEVANT, *_FIXED}
        if unknown := sorted(set(arguments) - known):
            raise _not_ours(f"the unknown arguments {', '.join(unknown)}")
        for name, value in _FIXED.items():
            if arguments.get(name, value) != value:
                raise _not_ours(f"{name}={arguments[name]!r} where published networks have {value!r}")
        self.arguments = arguments

    def tower(self, prefix: str, channels: int, depth: int, heads: int) -> Tower:
        tower = Tower(
            self._whole(f"{prefix}_embed_dim", channels),
            self._whole(f"{prefix}_depth", depth),
            self._whole(f"{prefix}_num_heads", heads),
        )
        if tower.channels % (4 * tower.heads):
            raise _not_ours(f"{tower.channels} channels in {tower.heads} heads, which are no multiples of 4 each")
        return tower

    def head(self) -> tuple[Head, int]:
        """The head, and how many channels its descriptors have."""
        head, output = self.arguments.get("head_type", "linear"), self.arguments.get("output_mode", "pts3d")
        found = re.fullmatch(r"pts3d(?:\+desc(\d+))?", str(output))
        if head not in get_args(Head) or not found or bool(found[1]) != (head == "catmlp+dpt"):
            raise _not_ours(f"head_type={head!r} with output_mode={output!r}")
        return cast(Head, head), int(found[1] or 0)

    def image_px(self) -> int:
        size = self.arguments.get("img_size", (224, 224))
        sides = size if isinstance(size, tuple | list) else (size,)
        if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
            raise _not_ours(f"img_size={size!r}")
        return max(cast(tuple[int, ...], sides))

    def rope_base(self) -> float:
        embedding = self.arguments.get("pos_embed", "RoPE100")
        if not (found := re.fullmatch(r"RoPE(\d+(?:\.\d+)?)", str(embedding))):
            raise _not_ours(f"pos_embed={embedding!r}")
        return float(found[1])

    def bounded(self, name: str, default: Value, curves: tuple[str, ...]) -> Bounded:
        value = self.arguments.get(name, default)
        match value:
            case [str() as curve, (int() | float()) as low, (int() | float()) as high] if curve in curves:
                return Bounded(curve, float(low), float(high))  # type: ignore[arg-type]  # a Literal, checked above
        raise _not_ours(f"{name}={value!r}")

    def descriptor_confidence(self, points: Bounded) -> Bounded | None:
        if not self.arguments.get("two_confs", False):
            return None
        if self.arguments.get("desc_conf_mode") is None:
            return points
        return self.bounded("desc_conf_mode", None, ("exp", "sigmoid"))

    def _whole(self, name: str, default: int) -> int:
        value = self.arguments.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _not_ours(f"{name}={value!r}")
        return value


def _not_ours(got: str) -> UserError:
    return clear(
        "network in the checkpoint",
        expected="a constructor of MASt3R (AsymmetricMASt3R) or DUSt3R (AsymmetricCroCo3DStereo) as published",
        got=got,
        do="use an official checkpoint of either",
    )
