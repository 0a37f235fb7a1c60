"""What a backward pass needs of the forward pass, read from TensorFlow's graph of both."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from pipeline.training.objectives.classification import cross_entropy

# What names the same bytes again, or makes them anew from nothing.
ALIASES = {"Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient"}
NOT_KEPT = {"Const", "Placeholder", "ReadVariableOp", "VarHandleOp"}


def kept_bytes(model: keras.Model, batch_size: int) -> dict[str, int]:
    """Bytes of the tensors that the forward pass makes and the backward pass reads.

    Tensors that weigh the same for every batch size, such as weights in the compute type, are
    left out. Returns bytes by the operation that made the tensor.
    """

    @tf.function
    def gradients(images, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(cross_entropy(model(images, training=True), labels, "softmax", 0))
        border = len(tf.compat.v1.get_default_graph().get_operations())
        tf.compat.v1.get_default_graph().border = border
        return tape.gradient(loss, [weight.value for weight in model.trainable_variables])

    def tensors(size: int) -> dict[tuple[str, int], tuple[str, int]]:
        images = tf.TensorSpec([size, *model.image_size, 3])
        graph = gradients.get_concrete_function(images, tf.TensorSpec([size], tf.int64)).graph
        operations = graph.get_operations()
        border = graph.border
        forward = set(operations[:border])
        found = {}
        for operation in operations[border:]:
            if operation.type in ("Shape", "ShapeN", "ZerosLike", "OnesLike"):
                continue
            for tensor in map(_origin, operation.inputs):
                if tensor.op not in forward or tensor.op.type in NOT_KEPT:
                    continue
                if tensor.dtype in (tf.resource, tf.variant):
                    continue
                size = math.prod(tensor.shape) * tensor.dtype.size
                found[tensor.op.name, tensor.value_index] = (tensor.op.type, size)
        return found

    small, large = tensors(batch_size), tensors(2 * batch_size)
    totals: dict[str, int] = {}
    for name, (kind, size) in large.items():
        if name in small and small[name][1] == size:
            continue
        totals[kind] = totals.get(kind, 0) + size
    return totals


def _origin(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in ALIASES and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    return tensor
