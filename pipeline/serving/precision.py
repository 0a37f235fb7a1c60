"""A float32 copy of a model that was trained in lower precision."""

from __future__ import annotations

import keras


def in_float32(model: keras.Model) -> keras.Model:
    """`model` itself where it computes in float32, else a copy that does, with the same weights.

    Weights are float32 in every policy, so that nothing is lost.
    """
    if model.compute_dtype == "float32":
        return model
    copy = model.__class__.from_config({**model.get_config(), "dtype": "float32"})
    copy.set_weights(model.get_weights())
    return copy
