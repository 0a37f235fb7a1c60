"""Answers to many image files, and tables of them: CSV, Parquet and JSON lines."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundwork import storage
from groundwork.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.serving.loading import Export

ENDINGS = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp")
"""Of the files that are taken from a folder."""
TABLES = (".csv", ".jsonl", ".parquet")
READERS = 16
"""Files that are read at a time: on network disks most of it is waiting."""
Row = dict[str, str | float | None]


@dataclass(frozen=True)
class Answer:
    """The classes of one image, most probable first; or why it has none."""

    path: str
    classes: list[tuple[str, float]]
    """Name and probability, 0 to 1."""
    problem: str | None = None
    chosen: str | None = None
    """The class, or classes joined by "|", that reach their thresholds; None: none does."""

    def row(self, top: int) -> Row:
        """Path, class and problem, then the names and probabilities of `top` classes."""
        row: Row = {
            "path": self.path,
            "class": self.chosen,
            "problem": self.problem,
        }
        for rank in range(top):
            name, probability = self.classes[rank] if rank < len(self.classes) else (None, None)
            row |= {f"class_{rank + 1}": name, f"probability_{rank + 1}": probability}
        return row


def find_images(paths: Sequence[str]) -> tuple[list[str], int]:
    """Files as they are named, and of folders all image files at any depth, by name.

    Returns:
        The files, and how many others lie in the folders.

    Raises:
        UserError: a folder without images.
    """
    found: list[str] = []
    others = 0
    for path in paths:
        if storage.is_remote(path) or not Path(path).is_dir():
            found.append(path)
            continue
        files = sorted(str(file) for file in Path(path).rglob("*") if file.is_file())
        images = [file for file in files if file.lower().endswith(ENDINGS)]
        if not images:
            raise UserError(f"{path}: no image in this folder ({', '.join(ENDINGS)})")
        found += images
        others += len(files) - len(images)
    return found, others


def classify(
    export: Export, paths: Sequence[str], top: int, batch_size: int, threshold: float | None = None
) -> Iterator[list[Answer]]:
    """Classify image files, batch by batch, in their order.

    Args:
        export: a model with a head.
        paths: image files.
        top: classes to give for each; of a model for any number of labels all that reach their
            thresholds.
        batch_size: images in a call of the model.
        threshold: of all classes; None: their own, or 0 where an image has one label.
    """
    from pipeline.serving.loading import NOT_AN_IMAGE

    batches = [paths[i : i + batch_size] for i in range(0, len(paths), batch_size)]
    with ThreadPoolExecutor(READERS) as pool:
        coming = pool.map(_read, batches[0])
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            read, coming = list(coming), pool.map(_read, following)
            encoded = [content for content in read if isinstance(content, bytes)]
            answers = iter(zip(*export.probabilities(encoded), strict=True) if encoded else ())
            found = []
            for path, content in zip(batch, read, strict=True):
                if isinstance(content, OSError):
                    found.append(Answer(path, [], content.strerror or str(content)))
                    continue
                probabilities, valid = next(answers)
                if not valid:
                    found.append(Answer(path, [], NOT_AN_IMAGE))
                    continue
                found.append(_answer(export, path, probabilities, top, threshold))
            yield found


def _answer(
    export: Export, path: str, probabilities: NDArray[np.float32], top: int, threshold: float | None
) -> Answer:
    order = (-probabilities).argsort(kind="stable")
    names, thresholds = export.description.class_names, export.description.thresholds
    if thresholds:
        least = thresholds if threshold is None else [threshold] * len(thresholds)
        order = order[(probabilities >= least)[order]]
        chosen = "|".join(names[i] for i in order) or None
    else:
        order = order[:top]
        chosen = names[order[0]] if probabilities[order[0]] >= (threshold or 0.0) else None
    return Answer(path, [(names[i], float(probabilities[i])) for i in order], None, chosen)


def _read(path: str) -> bytes | OSError:
    try:
        return storage.read(path)
    except OSError as error:
        return error


def check_table(path: str, option: str) -> None:
    """Raise a UserError where the name of a table does not tell its kind."""
    if Path(path).suffix.lower() not in TABLES:
        raise UserError(f"{option} {path}: give a file that ends in {', '.join(TABLES)}")
    if not storage.is_remote(path) and Path(path).is_dir():
        raise UserError(f"{option} {path} is a folder: name a file")


@contextlib.contextmanager
def writing_table(path: str) -> Iterator[Callable[[list[Row]], None]]:
    """Gives what adds rows to the table `path`, which is there when the block ends well.

    Raises:
        OSError: it cannot be written.
    """
    ending = Path(path).suffix.lower()
    with storage.create(path) as file:
        if ending == ".jsonl":

            def add(rows: list[Row]) -> None:
                lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                file.write("".join(lines).encode())

            yield add
        elif ending == ".csv":
            text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
            table = csv.writer(text, lineterminator="\n")
            started = False

            def add(rows: list[Row]) -> None:
                nonlocal started
                if not started:
                    table.writerow(rows[0])
                    started = True
                table.writerows([_cell(value) for value in row.values()] for row in rows)

            yield add
            text.detach()
        else:
            with _parquet(file) as add_to_parquet:
                yield add_to_parquet


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


@contextlib.contextmanager
def _parquet(file: Any) -> Iterator[Callable[[list[Row]], None]]:
    import pyarrow
    import pyarrow.parquet

    writer: Any = None

    def add(rows: list[Row]) -> None:
        nonlocal writer
        if writer is None:
            kinds = {
                name: pyarrow.float32() if name.startswith("probability") else pyarrow.string()
                for name in rows[0]
            }
            writer = pyarrow.parquet.ParquetWriter(file, pyarrow.schema(kinds))
        writer.write_table(pyarrow.Table.from_pylist(rows, writer.schema))

    try:
        yield add
    finally:
        if writer is not None:
            writer.close()
