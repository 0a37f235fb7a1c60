"""What a job counts in Beam's metrics, under the names that dashboards refer to."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from beam_corpus import build, encoded, picture


@pytest.fixture
def results(monkeypatch):
    """What each pipeline that is run in this process gives."""
    found = []
    run = beam.Pipeline.run

    def run_and_keep(pipeline, *args, **options):
        found.append(run(pipeline, *args, **options))
        return found[-1]

    monkeypatch.setattr(beam.Pipeline, "run", run_and_keep)
    return found


def metrics_of(result) -> tuple[dict[str, int], dict[str, tuple[int, int, int]]]:
    """Counters, and (count, smallest, largest) of distributions, of the namespace `beam_jobs`."""
    found = result.metrics().query(MetricsFilter().with_namespace("beam_jobs"))
    counters = {entry.key.metric.name: entry.result for entry in found["counters"]}
    distributions = {
        entry.key.metric.name: (entry.result.count, entry.result.min, entry.result.max)
        for entry in found["distributions"]
    }
    return counters, distributions


def test_counters_of_build_dataset(tmp_path, results):
    images = {
        "a/small.jpg": encoded(picture(0, (30, 20))),
        "a/large.jpg": encoded(picture(1, (200, 130))),
        "b/bitmap.bmp": encoded(picture(2, (40, 33)), "BMP"),
        "b/empty.jpg": b"",
        "b/page.jpg": b"<html>not found</html>",
        "b/other_page.jpg": b"<html>gone</html>",
        "b/unwanted.jpg": encoded(picture(3)),
    }
    passed_over = {"b/drawing.svg": b"<svg/>", "b/notes.txt": b"text", "b/notes": b"text"}
    for name, data in (images | passed_over).items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "exclude.txt").write_text("b/unwanted.jpg\n")
    options = ["--exclude", str(tmp_path / "exclude.txt"), "--splits", "train:1"]
    options += ["--max_rejected", "0.9", "--shards", "1"]
    build(tmp_path / "photos", tmp_path / "d", *options)

    (result,) = results
    counters, distributions = metrics_of(result)
    size = {name: len(data) for name, data in images.items()}
    clean = size["a/small.jpg"] + size["a/large.jpg"]
    bytes_out = counters.pop("bytes_out")
    assert counters == {
        "listed": 6,
        "excluded": 1,
        "passed_over_vector_image": 1,
        "passed_over_no_image": 2,
        "read": 6,
        "written": 3,
        "reencoded": 1,
        "rejected_empty": 1,
        "rejected_unknown_format": 2,
        "bytes_in": sum(size.values()) - size["b/unwanted.jpg"],
        "shorter_side_16_to_31": 1,
        "shorter_side_32_to_63": 1,
        "shorter_side_128_to_255": 1,
    }
    bitmap = bytes_out - clean
    written = [size["a/small.jpg"], size["a/large.jpg"], bitmap]
    assert 0 < bitmap < size["b/bitmap.bmp"]
    assert distributions["image_bytes"] == (3, min(written), max(written))

    (tmp_path / "d" / "COMPLETED").unlink()
    build(tmp_path / "photos", tmp_path / "d", *options)
    assert metrics_of(results[-1])[0] == {
        "listed": 6,
        "excluded": 1,
        "passed_over_vector_image": 1,
        "passed_over_no_image": 2,
        "skipped": 6,
    }
