"""What a compiled program moves, read from its optimized HLO: one rule for every compiler.

Each operation that the compiler left standing by itself (a fusion is one) reads its operands and
writes its results, at the size that their tiles take. A while loop counts as often as it runs.
What lies in a TPU's vector memory (memory space 1) is not moved through the chip's main memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace

BITS = {
    "pred": 8,
    "bf16": 16,
    "token": 0,
    "opaque": 0,
}
MOVES_NOTHING = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "partition-id",
    "replica-id",
    "iota",
    "opt-barrier",
    "domain",
    "add-dependency",
}
CALLED_FOR_NOTHING = 'custom_call_target="ConcatBitcast"'  # a TPU's name for parts side by side
CALLERS = {"while", "conditional", "call", "async-start"}
PARTIAL_READS = {"slice", "dynamic-slice"}
COLLECTIVES = {"all-reduce"}
VECTOR_MEMORY = 1

_HEADER = re.compile(r"^(ENTRY )?%?([^\s(]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_CALLED = re.compile(r"\b(?:body|to_apply|calls|\w+_computations?)=(?:\{([^}]*)\}|%?([\w.\-]+))")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclass(frozen=True)
class Traffic:
    """Of one call of a program, on one chip.

    Attributes:
        bytes_accessed: operands and results of all operations.
        memory_bytes: those of them that lie in main memory.
        all_reduces: how often it sums over the replicas.
        all_reduce_bytes: that are summed, without what tiles pad.
        prefetch_bytes: of `bytes_accessed`, those of copies that run beside other operations, as
            a TPU fetches into its vector memory.
    """

    bytes_accessed: int = 0
    memory_bytes: int = 0
    all_reduces: int = 0
    all_reduce_bytes: int = 0
    prefetch_bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Traffic:
        return Traffic(*(times * number for number in astuple(self)))


@dataclass(frozen=True)
class _Instruction:
    name: str
    result: str
    opcode: str
    operands: tuple[str, ...]
    rest: str


@dataclass(frozen=True)
class _Array:
    dtype: str
    bytes: int
    tiled_bytes: int
    space: int


def traffic(hlo: str, loop_counts: Sequence[int] = ()) -> Traffic:
    """Read a program.

    Args:
        hlo: text of an optimized HloModule.
        loop_counts: how often the program's loops run, from the outermost inwards, for those that
            do not say so themselves.
    """
    computations, entry = _parse(hlo.splitlines())

    def of(name: str, depth: int) -> Traffic:
        results = {instruction.name: instruction.result for instruction in computations[name]}
        total = Traffic()
        for instruction in computations[name]:
            if instruction.opcode in CALLERS:
                trips, deeper = 1, depth
                if instruction.opcode == "while":
                    trips, deeper = _trips(instruction, loop_counts, depth), depth + 1
                for called in _called(instruction):
                    total += of(called, deeper) * trips
            elif not _is_free(instruction):
                total += _moved(instruction, results)
        return total

    return of(entry, 0)


def _parse(lines: Iterable[str]) -> tuple[dict[str, list[_Instruction]], str]:
    computations: dict[str, list[_Instruction]] = {}
    entry = ""
    for line in lines:
        if header := _HEADER.match(line):
            current = computations.setdefault(header[2], [])
            if header[1]:
                entry = header[2]
        elif match := _INSTRUCTION.match(line):
            current.append(_instruction(match[1], match[2]))
    return computations, entry


def _instruction(name: str, text: str) -> _Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    result, call = text[:end], text[end:].lstrip()
    opening = call.index("(")
    closing = _closing(call, opening)
    operands = tuple(re.findall(r"%([\w.\-]+)", call[opening:closing]))
    return _Instruction(name, result, call[:opening], operands, call[closing:])


def _closing(text: str, opening: int) -> int:
    depth = 0
    for index in range(opening, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index
    raise ValueError(f"no closing parenthesis in {text[:80]!r}")


def _called(instruction: _Instruction) -> list[str]:
    return [
        name.strip().lstrip("%")
        for match in _CALLED.finditer(instruction.rest)
        for name in (match[1] or match[2]).split(",")
    ]


def _trips(instruction: _Instruction, loop_counts: Sequence[int], depth: int) -> int:
    if known := _TRIPS.search(instruction.rest):
        return int(known[1])
    return loop_counts[depth] if depth < len(loop_counts) else 1


def _is_free(instruction: _Instruction) -> bool:
    opcode = instruction.opcode
    if opcode in MOVES_NOTHING or opcode.endswith(("-done", "-update")):
        return True
    return opcode == "custom-call" and CALLED_FOR_NOTHING in instruction.rest


def _moved(instruction: _Instruction, results: dict[str, str]) -> Traffic:
    read = [array for name in instruction.operands for array in _arrays(results[name])]
    written = _arrays(instruction.result)
    opcode = instruction.opcode.removesuffix("-start")
    if instruction.opcode != opcode and instruction.result.startswith("("):
        # The tuple holds what is read too, and a handle.
        written = written[:1] if opcode == "copy" else written[len(read) : 2 * len(read)]
    if opcode == "custom-call" and len(written) > 1 and written[-1].dtype in ("s8", "u8"):
        written = written[:-1]  # the library's scratch
    if opcode in PARTIAL_READS:
        read = [replace(written[0], space=read[0].space)]
    reduces = opcode in COLLECTIVES
    accessed = sum(array.tiled_bytes for array in read + written)
    return Traffic(
        accessed,
        sum(array.tiled_bytes for array in read + written if array.space != VECTOR_MEMORY),
        int(reduces),
        sum(array.bytes for array in written) if reduces else 0,
        accessed if instruction.opcode == "copy-start" else 0,
    )


def _arrays(shape: str) -> list[_Array]:
    return [_array(*match.groups(default="")) for match in _ARRAY.finditer(shape)]


def _array(dtype: str, dimensions: str, layout: str) -> _Array:
    shape = [int(side.lstrip("<=")) for side in dimensions.split(",") if side]
    order, _, tiles = layout.partition(":")
    minor_to_major = [int(axis) for axis in order.split(",") if axis]
    padded = [shape[axis] for axis in reversed(minor_to_major)] if minor_to_major else shape
    if tile := re.search(r"T\(([\d,]+)\)", tiles):
        sides = [int(side) for side in tile[1].split(",")]
        padded = [1] * (len(sides) - len(padded)) + padded
        for axis, side in zip(range(-len(sides), 0), sides, strict=True):
            padded[axis] = -(-padded[axis] // side) * side
    space = re.search(r"S\((\d+)\)", tiles)
    bits = _bits(dtype)
    return _Array(
        dtype,
        math.prod(shape) * bits // 8,
        math.prod(padded) * bits // 8,
        int(space[1]) if space else 0,
    )


def _bits(dtype: str) -> int:
    if dtype in BITS:
        return BITS[dtype]
    width = re.match(r"[a-z]+(\d+)", dtype)
    return max(8, int(width[1])) if width else 0
