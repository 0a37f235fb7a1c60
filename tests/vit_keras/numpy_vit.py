"""A second forward pass, in NumPy, written from the official checkpoints' description.

It reads the arrays of an official file by their names there, so that it holds the file's layout as
well as the arithmetic: nothing in it comes from `vit_keras`.
"""

from __future__ import annotations

import math

import numpy as np


def vit_forward(arrays, images, *, big_vision=False, heads=None):
    """Logits (or features without a head) of an official ViT or hybrid file; float64."""
    w = {key: array.astype(np.float64) for key, array in arrays.items()}
    x = images.astype(np.float64)
    if "conv_root/kernel" in w:
        x = _resnet(w, x)
    x = _conv(x, w["embedding/kernel"], stride=w["embedding/kernel"].shape[0], pad=(0, 0))
    x = (x + w["embedding/bias"]).reshape(len(x), -1, x.shape[-1])
    if big_vision and "pos_embedding" in w:
        x = x + w["pos_embedding"]
    if "cls" in w:
        x = np.concatenate([np.broadcast_to(w["cls"], (len(x), 1, x.shape[-1])), x], axis=1)
    if not big_vision:
        x = x + w["Transformer/posembed_input/pos_embedding"]
    attention, norm, mlp = (
        ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")
        if big_vision
        else ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")
    )
    i = 0
    while f"Transformer/encoderblock_{i}/LayerNorm_0/scale" in w:
        b = f"Transformer/encoderblock_{i}"
        y = _layer_norm(w, f"{b}/LayerNorm_0", x)
        x = x + _attention(w, f"{b}/{attention}", y, y)
        x = x + _mlp(w, f"{b}/{mlp}", _layer_norm(w, f"{b}/{norm}", x))
        i += 1
    x = _layer_norm(w, "Transformer/encoder_norm", x)
    if "MAPHead_0/probe" in w:
        probe = np.broadcast_to(w["MAPHead_0/probe"], (len(x), 1, x.shape[-1]))
        y = _attention(w, "MAPHead_0/MultiHeadDotProductAttention_0", probe, x)
        y = y + _mlp(w, "MAPHead_0/MlpBlock_0", _layer_norm(w, "MAPHead_0/LayerNorm_0", y))
        x = y[:, 0]
    else:
        x = x[:, 0] if "cls" in w else x.mean(axis=1)
    if "pre_logits/kernel" in w:
        x = np.tanh(x @ w["pre_logits/kernel"] + w["pre_logits/bias"])
    return x @ w["head/kernel"] + w["head/bias"] if "head/kernel" in w else x


def bit_forward(arrays, images):
    """Logits of a BiT file; float64."""
    w = {key: array.astype(np.float64) for key, array in arrays.items()}
    x = images.astype(np.float64)

    def conv(x, key, stride=1):
        kernel = w[f"{key}/standardized_conv2d/kernel"]
        mean, var = kernel.mean((0, 1, 2)), kernel.var((0, 1, 2))
        side = kernel.shape[0]
        pad = ((side - 1) // 2, side - 1 - (side - 1) // 2)
        return _conv(x, (kernel - mean) / np.sqrt(var + 1e-10), stride, pad)

    def norm(x, key):
        return _group_norm(x, w[f"{key}/gamma"], w[f"{key}/beta"], 1e-5)

    x = conv(x, "resnet/root_block", 2)
    x = _max_pool(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    block = 1
    while f"resnet/block{block}/unit01/a/group_norm/gamma" in w:
        unit = 1
        while f"resnet/block{block}/unit{unit:02d}/a/group_norm/gamma" in w:
            key = f"resnet/block{block}/unit{unit:02d}"
            stride = 2 if block > 1 and unit == 1 else 1
            y = np.maximum(norm(x, f"{key}/a/group_norm"), 0)
            if f"{key}/a/proj/standardized_conv2d/kernel" in w:
                x = conv(y, f"{key}/a/proj", stride)
            y = conv(y, f"{key}/a")
            y = conv(np.maximum(norm(y, f"{key}/b/group_norm"), 0), f"{key}/b", stride)
            x = x + conv(np.maximum(norm(y, f"{key}/c/group_norm"), 0), f"{key}/c")
            unit += 1
        block += 1
    x = np.maximum(norm(x, "resnet/group_norm"), 0).mean(axis=(1, 2))
    return x @ w["resnet/head/conv2d/kernel"][0, 0] + w["resnet/head/conv2d/bias"]


def _layer_norm(w, key, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * w[f"{key}/scale"] + w[f"{key}/bias"]


def _attention(w, key, inputs_q, inputs_kv):
    q, k, v = (
        np.einsum("btd,dhe->bhte", x, w[f"{key}/{part}/kernel"]) + w[f"{key}/{part}/bias"][:, None]
        for part, x in (("query", inputs_q), ("key", inputs_kv), ("value", inputs_kv))
    )
    logits = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhte,hed->btd", weights @ v, w[f"{key}/out/kernel"]) + w[f"{key}/out/bias"]


def _mlp(w, key, x):
    x = x @ w[f"{key}/Dense_0/kernel"] + w[f"{key}/Dense_0/bias"]
    x = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x @ w[f"{key}/Dense_1/kernel"] + w[f"{key}/Dense_1/bias"]


def _resnet(w, x):
    """The stem of a hybrid: units with the activation after the addition."""

    def conv(x, key, stride=1):
        kernel = w[f"{key}/kernel"]
        mean, std = kernel.mean((0, 1, 2)), kernel.std((0, 1, 2))
        return _conv(x, (kernel - mean) / (std + 1e-5), stride, None)

    def norm(x, key):
        return _group_norm(x, w[f"{key}/scale"].ravel(), w[f"{key}/bias"].ravel(), 1e-6)

    x = np.maximum(norm(conv(x, "conv_root", 2), "gn_root"), 0)
    x = _max_pool(_pad_same(x, 3, 2, -np.inf))
    block = 1
    while f"block{block}/unit1/conv1/kernel" in w:
        unit = 1
        while f"block{block}/unit{unit}/conv1/kernel" in w:
            key = f"block{block}/unit{unit}"
            stride = 2 if block > 1 and unit == 1 else 1
            y = np.maximum(norm(conv(x, f"{key}/conv1"), f"{key}/gn1"), 0)
            y = np.maximum(norm(conv(y, f"{key}/conv2", stride), f"{key}/gn2"), 0)
            y = norm(conv(y, f"{key}/conv3"), f"{key}/gn3")
            if f"{key}/conv_proj/kernel" in w:
                x = norm(conv(x, f"{key}/conv_proj", stride), f"{key}/gn_proj")
            x = np.maximum(x + y, 0)
            unit += 1
        block += 1
    return x


def _pad_same(x, side, stride, value):
    """TensorFlow's and Flax's SAME."""
    pads = [(0, 0)]
    for size in x.shape[1:3]:
        total = max(0, (math.ceil(size / stride) - 1) * stride + side - size)
        pads.append((total // 2, total - total // 2))
    return np.pad(x, (*pads, (0, 0)), constant_values=value)


def _conv(x, kernel, stride, pad):
    side = kernel.shape[0]
    x = _pad_same(x, side, stride, 0) if pad is None else np.pad(x, ((0, 0), pad, pad, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
    return np.einsum("bhwcij,ijcd->bhwd", windows[:, ::stride, ::stride], kernel, optimize=True)


def _max_pool(x):
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return windows[:, ::2, ::2].max((-1, -2))


def _group_norm(x, scale, bias, epsilon):
    batch, height, width, channels = x.shape
    groups = x.reshape(batch, height * width, 32, channels // 32)
    mean, var = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    return ((groups - mean) / np.sqrt(var + epsilon)).reshape(x.shape) * scale + bias
