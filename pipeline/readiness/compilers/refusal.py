"""What a compiler refuses, in one line that names the layer."""

from __future__ import annotations

import math
import re

from groundwork.errors import one_line

_MEMORY = re.compile(
    r"memory required for (?P<what>.+?) \((?P<need>[\d.]+[KMGT])\) exceeds available \w+ "
    r"\((?P<have>[\d.]+[KMGT])\)"
)
_PRODUCT = re.compile(
    r"= (?P<dtype>[a-z]+\d+)\[(?P<sides>[\d,]+)\]\S* (?:dot|convolution)\("
    r".*op_name=\"(?P<layer>[^\"]+)"
)
_LAYER = re.compile(r'(?:op_name="|loc\(")(?P<layer>[^"]+)"')
_WRAPPERS = re.compile(r"\b(while|body|cond|Stateful|Partitioned)\w*/|^.*;|\b__inference_\w+/")


def refusal(error: str, program: str) -> str:
    """The compiler's `error`, and the layer of `program` (HLO text) that it is about."""
    if memory := _MEMORY.search(error):
        what = memory["what"].replace("HLO ", "")
        need, have = (f"{memory[key][:-1]} {memory[key][-1]}iB" for key in ("need", "have"))
        line = f"{what} need {need}, and a chip has {have}"
        if largest := _largest_product(program):
            layer, size = largest
            line += f"; the largest product, {size / 2**30:.2g} GiB, is that of {layer}"
        return line
    line = one_line(ValueError(error.partition("\nSee http")[0]))
    found = _LAYER.search(error)
    return f"{layer_name(found['layer'])}: {line}" if found else line


def is_about_memory(error: str) -> bool:
    """Whether the chip's memory is too small."""
    return "RESOURCE_EXHAUSTED" in error


def layer_name(op_name: str) -> str:
    """The layer that an operation's name in HLO metadata stands for.

    Of `StatefulPartitionedCall/vit_1/block_0_1/attention_1/Softmax` it is
    `vit/block_0/attention/Softmax`: TensorFlow numbers the scopes of a model that is called again.
    """
    *scopes, operation = _WRAPPERS.sub("", op_name).split("/")
    called_again = re.search(r"_\d+$", scopes[0]) if scopes else None
    if called_again:
        scopes = [scope.removesuffix(called_again[0]) for scope in scopes]
    return "/".join([*scopes, operation])


def _largest_product(program: str) -> tuple[str, int] | None:
    products = [
        (math.prod(map(int, match["sides"].split(","))) * _width(match["dtype"]), match["layer"])
        for match in _PRODUCT.finditer(program)
    ]
    if not products:
        return None
    size, layer = max(products)
    return layer_name(layer), size


def _width(dtype: str) -> int:
    digits = re.sub(r"\D", "", dtype)
    return max(1, int(digits) // 8)
