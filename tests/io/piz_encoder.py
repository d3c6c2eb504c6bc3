"""PIZ, written: the inverse of what `rilievo.io.piz` reads, from the format's description, as simple as can be."""

import heapq
import struct
from collections import Counter
from itertools import count

import numpy as np

RUN = 255


def encode(channels: list[np.ndarray], *, runs: bool = True) -> bytes:
    """A chunk of 16-bit numbers [h, w, halves] per channel."""
    everything = np.concatenate([c.ravel() for c in channels])
    occurs = np.zeros(1 << 16, bool)
    occurs[everything] = True
    occurs[0] = False
    bitmap = np.packbits(occurs, bitorder="little")
    used = bitmap.nonzero()[0]
    first, last = (int(used[0]), int(used[-1])) if len(used) else (8191, 0)
    occurs[0] = True
    rank = np.cumsum(occurs) - 1
    numbers = []
    for channel in channels:
        ranked = rank[channel].astype(np.int64)
        for part in range(channel.shape[2]):
            wave(ranked[..., part], signed=int(rank[-1]) < 1 << 14)
        numbers += (ranked.ravel() & 0xFFFF).tolist()
    coded = huffman(numbers, runs)
    head = struct.pack("<2H", first, last) + bitmap[first : last + 1].tobytes()
    return head + struct.pack("<i", len(coded)) + coded


def wave(plane: np.ndarray, *, signed: bool) -> None:
    """From fine to coarse, pixel by pixel."""

    def lift(a: int, b: int) -> tuple[int, int]:
        if signed:
            a, b = (v - 65536 if v >= 32768 else v for v in (a, b))
            return (a + b) >> 1 & 0xFFFF, a - b & 0xFFFF
        shifted = a + 0x8000 & 0xFFFF
        low, high = shifted + b >> 1, shifted - b
        return (low + 0x8000 & 0xFFFF if high < 0 else low), high & 0xFFFF

    height, width = plane.shape
    half = 1
    while 2 * half <= min(height, width):
        step = 2 * half
        for y in range(0, height - step + 1, step):
            for x in range(0, width - step + 1, step):
                a, c = lift(int(plane[y, x]), int(plane[y, x + half]))
                b, d = lift(int(plane[y + half, x]), int(plane[y + half, x + half]))
                plane[y, x], plane[y + half, x] = lift(a, b)
                plane[y, x + half], plane[y + half, x + half] = lift(c, d)
            if width & half:
                x = width // step * step
                plane[y, x], plane[y + half, x] = lift(int(plane[y, x]), int(plane[y + half, x]))
        if height & half:
            y = height // step * step
            for x in range(0, width - step + 1, step):
                plane[y, x], plane[y, x + half] = lift(int(plane[y, x]), int(plane[y, x + half]))
        half *= 2


def huffman(numbers: list[int], runs: bool) -> bytes:
    lowest, repeat = min(numbers), max(numbers) + 1
    lengths = code_lengths(Counter(numbers) | {repeat: 1})
    codes, code, length = {}, 0, 58
    for symbol in sorted(lengths, key=lambda s: (-lengths[s], s)):
        code, length = code >> (length - lengths[symbol]), lengths[symbol]
        codes[symbol] = f"{code:0{length}b}"
        code += 1
    table, symbol = "", lowest
    while symbol <= repeat:
        gap = next(k for k in count() if symbol + k in lengths)
        if gap >= 6:
            table += f"{63:06b}{min(gap, 261) - 6:08b}"
            symbol += min(gap, 261)
        elif gap >= 2:
            table += f"{59 + gap - 2:06b}"
            symbol += gap
        elif gap == 1:
            table += f"{0:06b}"
            symbol += 1
        else:
            table += f"{lengths[symbol]:06b}"
            symbol += 1
    body, k = [], 0
    while k < len(numbers):
        more = 0
        while runs and more < RUN and k + more + 1 < len(numbers) and numbers[k + more + 1] == numbers[k]:
            more += 1
        body.append(codes[numbers[k]])
        if more > 3:
            body.append(codes[repeat] + f"{more:08b}")
        else:
            body.append(codes[numbers[k]] * more)
        k += more + 1
    bits = "".join(body)
    packed = to_bytes(table)
    return struct.pack("<5I", lowest, repeat, len(packed), len(bits), 0) + packed + to_bytes(bits)


def code_lengths(frequency: Counter) -> dict[int, int]:
    tick = count()
    heap = [(n, next(tick), [s]) for s, n in frequency.items()]
    heapq.heapify(heap)
    lengths = dict.fromkeys(frequency, 0)
    while len(heap) > 1:
        (n, _, a), (m, _, b) = heapq.heappop(heap), heapq.heappop(heap)
        for s in a + b:
            lengths[s] += 1
        heapq.heappush(heap, (n + m, next(tick), a + b))
    return lengths


def to_bytes(bits: str) -> bytes:
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return int(padded, 2).to_bytes(len(padded) // 8, "big") if padded else b""
