"""`build_dataset` beside a TFDS builder and webdataset's writer, on the same folder of JPEGs.

    python benchmarks/beam_throughput.py --images 4000

Prints wall time, CPU time of all processes, images per CPU-second, peak memory of all processes
together, and bytes written. Peers need `importlib_resources` (TFDS) and `webdataset`.
`--scaling` measures `build_dataset` alone, with 1 and 2 workers and with twice the images.
`--fractals` measures `render_fractals` alone: the search of a class, and pictures of 64, 224 and
362 pixels, drawn and encoded, per second of one core.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def make_corpus(root: Path, images: int) -> None:
    """Write crops of two photographs, 500×375, as JPEGs of quality 90 in 10 class folders."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    for number in range(images):
        photograph = photographs[number % len(photographs)]
        x, y = (
            int(rng.integers(limit)) for limit in (photograph.width - 500, photograph.height - 375)
        )
        crop = photograph.crop((x, y, x + 500, y + 375))
        path = root / f"class_{number % 10}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = io.BytesIO()
        crop.save(encoded, "JPEG", quality=90)
        path.write_bytes(encoded.getvalue())


@dataclass
class Run:
    """What one command cost."""

    wall_s: float
    cpu_s: float
    """Of all processes of the command."""
    peak_mb: float
    """Largest sum of the resident memory of all processes; shared pages count in each."""
    output_mb: float


def measure(command: list[str], output: Path) -> Run:
    """Run a command and watch all processes of its session."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    cpu: dict[int, float] = {}
    peak = 0.0
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, start_new_session=True, stdout=log, stderr=log
        )
        while process.poll() is None:
            memory = 0.0
            for pid, seconds, resident in _session(process.pid):
                cpu[pid] = seconds
                memory += resident
            peak = max(peak, memory)
            time.sleep(0.05)
        wall = time.monotonic() - started
        if process.returncode:
            log.seek(0)
            sys.exit(log.read().decode()[-2000:])
    written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    return Run(wall, sum(cpu.values()), peak / 1e6, written / 1e6)


def _session(session: int) -> list[tuple[int, float, float]]:
    """Process id, CPU seconds and resident bytes of each process of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            seconds = (int(fields[11]) + int(fields[12])) / _TICKS
            found.append((int(entry.name), seconds, int(fields[21]) * _PAGE))
    return found


def ours(corpus: Path, output: Path, workers: int) -> list[str]:
    job = [sys.executable, "-m", "beam_jobs.build_dataset", "--input", str(corpus)]
    return [*job, "--output", str(output), "--splits", "train:1", "--workers", str(workers)]


def peer(name: str, corpus: Path, output: Path, workers: int = 1) -> list[str]:
    this = str(Path(__file__).resolve())
    return [sys.executable, this, "--peer", name, str(corpus), str(output), str(workers)]


def write_with_tfds(corpus: str, output: str, workers: str) -> None:
    """A `BeamBasedBuilder`, as TFDS documents it. It decodes nothing."""
    import apache_beam as beam
    import tensorflow_datasets as tfds
    from apache_beam.options.pipeline_options import PipelineOptions

    def example(path: str) -> tuple[str, dict[str, str]]:
        return path, {"image": path, "label": Path(path).parent.name}

    class Photographs(tfds.core.BeamBasedBuilder):  # type: ignore[name-defined, misc]
        """The corpus."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            names = sorted(path.name for path in Path(corpus).iterdir())
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),
                    "label": tfds.features.ClassLabel(names=names),
                }
            )
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(corpus)}

        def _generate_examples(self, root):
            paths = sorted(map(str, Path(root).rglob("*.jpg")))
            return beam.Create(paths) | beam.Reshuffle() | beam.Map(example)

    arguments = ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]
    if int(workers) > 1:
        arguments += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    config = tfds.download.DownloadConfig(
        beam_runner=arguments[0].partition("=")[2],
        beam_options=PipelineOptions(arguments[1:]),
        try_download_gcs=False,
    )
    Photographs(data_dir=output).download_and_prepare(download_config=config)


def write_with_webdataset(corpus: str, output: str, _workers: str) -> None:
    """webdataset's `ShardWriter` in a loop. It decodes nothing."""
    import webdataset

    Path(output).mkdir(parents=True)
    with webdataset.ShardWriter(f"{output}/%05d.tar", maxsize=128e6, verbose=0) as writer:
        for path in sorted(Path(corpus).rglob("*.jpg")):
            label = path.parent.name.removeprefix("class_")
            writer.write({"__key__": path.stem, "jpg": path.read_bytes(), "cls": label})


def measure_fractals(classes: int = 8, pictures: int = 200) -> None:
    """Print processor time of one core: what else the machine does counts little."""
    sys.path.insert(0, str(REPOSITORY))
    from beam_jobs import fractals

    started = time.process_time()
    systems = [fractals.search(np.random.default_rng([1, label])) for label in range(classes)]
    print(f"search      {(time.process_time() - started) / classes:7.2f} CPU-s a class")
    for size in (64, 224, 362):
        started = time.process_time()
        written = 0
        for number in range(pictures):
            label, instance = number % classes, number // classes
            rng = np.random.default_rng([1, label, instance])
            written += len(fractals.encode(fractals.render(systems[label], instance, rng, size)))
        rate = pictures / (time.process_time() - started)
        print(f"{size:4} pixels {rate:7.0f} pictures/CPU-s, {written / pictures / 1e3:.1f} kB each")


PEERS = {"tfds": write_with_tfds, "webdataset": write_with_webdataset}


def show(name: str, images: int, run: Run) -> None:
    print(
        f"{name:<44} {run.wall_s:7.1f} s {run.cpu_s:7.1f} CPU-s {images / run.cpu_s:7.0f} /CPU-s "
        f"{images / run.wall_s:7.0f} /s {run.peak_mb:7.0f} MB peak {run.output_mb:7.0f} MB out",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        PEERS[sys.argv[2]](*sys.argv[3:6])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--fractals", action="store_true")
    options = parser.parse_args()
    if options.fractals:
        measure_fractals()
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        images = options.images
        make_corpus(root / "corpus", images)
        commands = {
            f"build_dataset, {count} worker": ours(root / "corpus", root / f"ours{count}", count)
            for count in (1, 2)
        }
        if options.scaling:
            make_corpus(root / "twice", 2 * images)
            double = ours(root / "twice", root / "ours_twice", 1)
            commands["build_dataset, 1 worker, twice the images"] = double
        else:
            for count in (1, 2):
                output = root / f"tfds{count}"
                commands[f"TFDS BeamBasedBuilder, {count} worker"] = peer(
                    "tfds", root / "corpus", output, count
                )
            commands["webdataset ShardWriter"] = peer("webdataset", root / "corpus", root / "wds")
        outputs = ["ours1", "ours2"]
        outputs += ["ours_twice"] if options.scaling else ["tfds1", "tfds2", "wds"]
        for (label, command), output_name in zip(commands.items(), outputs, strict=True):
            run = measure(command, root / output_name)
            show(label, images * (2 if "twice" in label else 1), run)


if __name__ == "__main__":
    main()
