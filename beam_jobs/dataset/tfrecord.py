"""The TFRecord file format, without TensorFlow.

Each record: its length (uint64, little endian), the length's masked CRC-32C, the bytes, and their
masked CRC-32C. https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size
FRAME_BYTES = _HEADER_BYTES + _CRC.size
"""Of each record besides its own bytes."""


class CorruptRecordError(Exception):
    """A record whose checksum does not match, or which ends too early."""


def masked_crc(data: bytes) -> int:
    """CRC-32C of `data`, masked as TFRecord files store it."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """One record as it lies in a TFRecord file."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, _CRC.pack(masked_crc(length)), record, _CRC.pack(masked_crc(record))))


def read(file: BinaryIO) -> Iterator[bytes]:
    """Yield the records of an open TFRecord file.

    Raises:
        CorruptRecordError: naming the record's number, counted from 0, and its offset in bytes.
    """
    number = offset = 0
    while header := file.read(_HEADER_BYTES):
        where = f"record {number} at byte {offset}"
        if len(header) < _HEADER_BYTES:
            raise CorruptRecordError(f"{where} is cut short")
        length_bytes = header[: _LENGTH.size]
        if _CRC.unpack(header[_LENGTH.size :])[0] != masked_crc(length_bytes):
            raise CorruptRecordError(f"{where}: the checksum of its length does not match")
        (length,) = _LENGTH.unpack(length_bytes)
        record, stored = file.read(length), file.read(_CRC.size)
        if len(record) < length or len(stored) < _CRC.size:
            raise CorruptRecordError(f"{where} is cut short")
        if _CRC.unpack(stored)[0] != masked_crc(record):
            raise CorruptRecordError(f"{where}: its checksum does not match")
        yield record
        number += 1
        offset += _HEADER_BYTES + length + _CRC.size
