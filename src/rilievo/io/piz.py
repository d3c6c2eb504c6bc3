"""PIZ, one of OpenEXR's compressions: 16-bit values made few, a Haar wavelet in integers, Huffman codes.

A chunk holds up to 32 rows. Its values, channel after channel, are seen as 16-bit numbers (a float is two of them, side
by side). To read it (openexr.com, "OpenEXR File Layout" and its PIZ compressor):

1. a bitmap says which of the 65536 values occur; the n-th one is written as n;
2. Huffman codes, canonical, of at most 58 bits, follow; the last symbol stands for a repetition of the value before
   and is followed by 8 bits that say how often;
3. a two-dimensional wavelet is undone level by level, from coarse to fine, each number of a value apart.

Where fewer than 2¹⁴ values occur the wavelet is one of signed averages and differences, else one modulo 2¹⁶.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt16

LONGEST_CODE = 58
SHORT_RUN, LONG_RUN = 59, 63
"""Lengths in the table of codes that stand for 2 … 5 unused symbols, and for 6 and more."""
SIGNED_BELOW = 1 << 14

Pair = tuple[np.ndarray, np.ndarray]
Unlift = Callable[[np.ndarray, np.ndarray], Pair]
"""(average, difference) → the two values."""


def decode_piz(stored: bytes, height: int, width: int, halves: list[int]) -> bytes:
    """The chunk as it would be stored plain: row by row, in a row channel by channel, little-endian.

    `halves` says of each channel how many 16-bit numbers make a value: 1 or 2. Raises ValueError, IndexError or
    struct.error for damaged data.
    """
    values, position = _values(stored)
    (size,) = struct.unpack_from("<i", stored, position)
    coded = stored[position + 4 : position + 4 + size]
    numbers = _huffman(coded, height * width * sum(halves))
    unlift = _signed if len(values) - 1 < SIGNED_BELOW else _modular
    table = np.zeros(1 << 16, "<u2")
    table[: len(values)] = values
    rows, start = [], 0
    for parts in halves:
        end = start + height * width * parts
        channel = numbers[start:end].reshape(height, width, parts)
        for part in range(parts):
            _unwave(channel[..., part], unlift)
        rows.append(table[channel].reshape(height, width * parts))
        start = end
    return np.concatenate(rows, axis=1).tobytes()


def _values(stored: bytes) -> tuple[UInt16[np.ndarray, "n"], int]:
    """The values that occur, ascending and 0 always among them, and where the codes start."""
    first, last = struct.unpack_from("<2H", stored)
    bitmap = np.zeros(8192, np.uint8)
    position = 4
    if first <= last:
        position += last - first + 1
        bitmap[first : last + 1] = np.frombuffer(stored, np.uint8, last - first + 1, 4)
    occurs = np.unpackbits(bitmap, bitorder="little").astype(bool)
    occurs[0] = True
    return occurs.nonzero()[0].astype(np.uint16), position


def _huffman(coded: bytes, count: int) -> UInt16[np.ndarray, "count"]:
    """`count` symbols: the code that would start at every bit is looked up at once, then we hop from code to code."""
    if count == 0:
        return np.zeros(0, np.uint16)
    lowest, highest, _, n_bits, _ = struct.unpack_from("<5I", coded)
    if highest > 1 << 16 or lowest > highest:
        raise ValueError("a table of Huffman codes that is damaged")
    lengths, data = _code_lengths(coded[20:], lowest, highest)
    symbols, taken = _codes_at_every_bit(data, n_bits, lengths)
    out: list[int] = []
    place = 0
    while place < n_bits and len(out) < count:
        symbol = symbols[place]
        place += taken[place]
        if symbol == highest:
            byte, shift = divmod(place, 8)
            times = (data[byte] << 8 | (data[byte + 1] if byte + 1 < len(data) else 0)) >> (8 - shift) & 255
            out.extend([out[-1]] * times)
            place += 8
        else:
            out.append(symbol)
    if len(out) != count:
        raise ValueError(f"{len(out)} Huffman symbols instead of {count}")
    return np.array(out, np.uint16)


def _code_lengths(packed: bytes, lowest: int, highest: int) -> tuple[np.ndarray, bytes]:
    """Bits of each symbol's code, 0 for unused ones, from 6 bits each; and the bytes after them."""
    lengths = np.zeros(highest + 1, np.int64)
    place, symbol = 0, lowest

    def take(bits: int) -> int:
        nonlocal place
        byte, shift = divmod(place, 8)
        place += bits
        return int.from_bytes(packed[byte : byte + 3].ljust(3, b"\0"), "big") >> (24 - shift - bits) & ((1 << bits) - 1)

    while symbol <= highest:
        length = take(6)
        if length == LONG_RUN:
            symbol += take(8) + 2 + LONG_RUN - SHORT_RUN
        elif length >= SHORT_RUN:
            symbol += length - SHORT_RUN + 2
        else:
            lengths[symbol] = length
            symbol += 1
        if place > 8 * len(packed):
            raise ValueError("a table of Huffman codes that ends too early")
    return lengths, packed[-(-place // 8) :]


def _codes_at_every_bit(data: bytes, n_bits: int, lengths: np.ndarray) -> tuple[list[int], list[int]]:
    """Which symbol a code starting at each bit would be, and how many bits it would take.

    Codes of one length are consecutive, longer ones before shorter ones when compared from the left.
    """
    used = lengths.nonzero()[0]
    order = used[np.lexsort((used, -lengths[used]))]  # as codes ascend: long ones first, then by symbol
    of_length = lengths[order]
    starts = np.zeros(len(order), np.uint64)
    code, length = 0, LONGEST_CODE
    for i, wanted in enumerate(of_length.tolist()):
        code, length = code >> (length - wanted), wanted
        starts[i] = code << (LONGEST_CODE - wanted)
        code += 1
    padded = np.frombuffer(data + bytes(16), np.uint8)
    place = np.arange(n_bits)
    byte, shift = place // 8, (place % 8).astype(np.uint64)
    if n_bits > 8 * len(data):
        raise ValueError("Huffman codes that end too early")
    eight = np.lib.stride_tricks.sliding_window_view(padded, 8)[: len(data) + 1]
    words = np.ascontiguousarray(eight).view(">u8")[:, 0].astype(np.uint64)
    ninth = padded[byte + 8].astype(np.uint64) >> (np.uint64(8) - shift)
    window = (words[byte] << shift | ninth) >> np.uint64(64 - LONGEST_CODE)
    chosen = np.searchsorted(starts, window, side="right") - 1
    return order[chosen].tolist(), of_length[chosen].tolist()


def _unwave(plane: UInt16[np.ndarray, "h w"], unlift: Unlift) -> None:
    """Undo the wavelet in place. A level works on pixels `half` apart; a last odd row or column stands alone."""
    height, width = plane.shape
    half = 1 << (min(height, width).bit_length() - 1) >> 1 if min(height, width) else 0
    while half >= 1:
        step = 2 * half
        rows, columns = height // step * step, width // step * step
        top, bottom = slice(0, rows, step), slice(half, rows, step)
        left, right = slice(0, columns, step), slice(half, columns, step)
        a, b = unlift(plane[top, left], plane[bottom, left])
        c, d = unlift(plane[top, right], plane[bottom, right])
        plane[top, left], plane[top, right] = unlift(a, c)
        plane[bottom, left], plane[bottom, right] = unlift(b, d)
        if width & half:
            plane[top, columns], plane[bottom, columns] = unlift(plane[top, columns], plane[bottom, columns])
        if height & half:
            plane[rows, left], plane[rows, right] = unlift(plane[rows, left], plane[rows, right])
        half >>= 1


def _signed(average: np.ndarray, difference: np.ndarray) -> Pair:
    low, high = average.view(np.int16).astype(np.int32), difference.view(np.int16).astype(np.int32)
    first = low + (high & 1) + (high >> 1)
    return first.astype(np.uint16), (first - high).astype(np.uint16)


def _modular(average: np.ndarray, difference: np.ndarray) -> Pair:
    low, high = average.astype(np.int32), difference.astype(np.int32)
    second = (low - (high >> 1)) & 0xFFFF
    first = (high + second - 0x8000) & 0xFFFF
    return first.astype(np.uint16), second.astype(np.uint16)
