"""One labeled image as a tf.Example, without TensorFlow."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from beam_jobs.dataset.extra_features import Field


class Example(NamedTuple):
    """One labeled image of a dataset folder."""

    image: bytes
    """Encoded: JPEG, PNG, GIF or BMP."""
    labels: tuple[int, ...]
    """One, unless the dataset has several labels to an image."""
    key: str
    """Unique in its dataset."""
    extra: tuple[Field, ...] = ()
    """Further features."""


@functools.cache
def _proto() -> Any:
    # imported late: it takes half a second, which --help does not have
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example


def serialize(example: Example) -> bytes:
    """The tf.Example with features image, label, key and more; equal input gives equal bytes.

    Written out by hand: message objects of a million images are what memory would fill with.
    """
    features = {
        "image": _bytes_list((example.image,)),
        "key": _bytes_list((example.key.encode(),)),
        "label": _int64_list(example.labels),
        **{field.name: _extra(field) for field in example.extra},
    }
    entries = (
        # in the order of their names, as protobuf's deterministic serialization has it
        _field(_ENTRY, _field(_NAME, name.encode()) + _field(_FEATURE, features[name]))
        for name in sorted(features)
    )
    return _field(_FEATURES, b"".join(entries))


# field numbers of tensorflow/core/example/example.proto and feature.proto
_FEATURES = 1
_ENTRY = 1
_NAME, _FEATURE = 1, 2
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_VALUE = 1
_LENGTH_DELIMITED = 2


def _extra(field: Field) -> bytes:
    if field.kind.startswith("text"):
        return _bytes_list(field.texts)
    if field.kind.startswith("float"):
        values = struct.pack(f"<{len(field.floats)}f", *field.floats)
        return _field(_FLOAT_LIST, _field(_VALUE, values) if values else b"")
    return _int64_list(field.ints)


def _bytes_list(values: Iterable[bytes]) -> bytes:
    return _field(_BYTES_LIST, b"".join(_field(_VALUE, value) for value in values))


def _int64_list(values: Iterable[int]) -> bytes:
    numbers = b"".join(
        _varint(value % 2**64) for value in values
    )  # negative ones as two's complement
    return _field(_INT64_LIST, _field(_VALUE, numbers) if numbers else b"")


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf's wire format."""
    return b"".join((_varint(number << 3 | _LENGTH_DELIMITED), _varint(len(content)), content))


def _varint(value: int) -> bytes:
    """A number that is not negative, 7 bits a byte, the lowest first."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def deserialize(record: bytes, place: str = "") -> Example:
    """The inverse of `serialize`.

    Args:
        record: the serialized tf.Example.
        place: the key of an image that has none, as in most datasets of TFDS; empty: it must have.

    Raises:
        ValueError: `record` is no tf.Example, or lacks image or key.
    """
    from google.protobuf.message import DecodeError

    try:
        feature = _proto().FromString(record).features.feature
        (image,) = feature["image"].bytes_list.value
        labels = tuple(feature["label"].int64_list.value)
        keys = tuple(feature["key"].bytes_list.value)
        (key,) = keys or ((place.encode(),) if place else ())
    except (DecodeError, ValueError) as error:
        raise ValueError("no tf.Example with one image and one key") from error
    return Example(image=image, labels=labels, key=key.decode())
