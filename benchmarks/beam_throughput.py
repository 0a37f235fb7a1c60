"""`build_dataset` beside a TFDS builder and webdataset's writer, on the same folder of JPEGs.

    python benchmarks/beam_throughput.py            # 2,000 to 50,000 images, 6 GB of disk
    python benchmarks/beam_throughput.py --quick    # 400 to 10,000 images

Prints wall time, CPU time of all processes, images per CPU-second, peak memory of all processes
together, and bytes written; then how memory and time grow with the images, the gain of a second
worker, and the ratio to the TFDS builder, each beside its target. It needs two idle cores. Of the
peers, webdataset is passed over where it is not installed.
`--buckets` measures reading from a bucket alone: Google's interface on loopback behind a proxy that
counts requests and bytes and adds 20 ms to each request. It needs the packages of the extra `test`.
`--fractals` measures `render_fractals` alone: the search of a class, and pictures of 64, 224 and
362 pixels, drawn and encoded, per second of one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_MEMORY_INTERVAL_S = 0.5
"""Reading how much memory is whose takes the kernel milliseconds, which the jobs lack."""
_DIFFERENT_IMAGES = 4000
"""Further ones are links to these: all are read, checked and written."""


def make_corpus(root: Path, images: int) -> Path:
    """Write crops of two photographs, 500×375, as JPEGs of quality 90 in 10 class folders."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    paths = [root / f"class_{number % 10}" / f"{number:06d}.jpg" for number in range(images)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= _DIFFERENT_IMAGES:
            path.hardlink_to(paths[number % _DIFFERENT_IMAGES])
            continue
        photograph = photographs[number % len(photographs)]
        x, y = (
            int(rng.integers(limit)) for limit in (photograph.width - 500, photograph.height - 375)
        )
        encoded = io.BytesIO()
        photograph.crop((x, y, x + 500, y + 375)).save(encoded, "JPEG", quality=90)
        path.write_bytes(encoded.getvalue())
    return root


@dataclass
class Run:
    """What one command cost."""

    images: int
    wall_s: float
    cpu_s: float
    """Of all processes of the command."""
    peak_mb: float
    """Largest sum of the memory of all processes; pages that several share count once."""
    output_mb: float

    @property
    def per_cpu_s(self) -> float:
        """Images per CPU-second."""
        return self.images / self.cpu_s


def measure(name: str, command: list[str], images: int, output: Path) -> Run:
    """Run a command, watch all processes of its session, print what it cost, delete its output."""
    search_path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": search_path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    cpu: dict[int, float] = {}
    peak = memory_seen = 0.0
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, start_new_session=True, stdout=log, stderr=log
        )
        while process.poll() is None:
            cpu |= _session(process.pid)
            if time.monotonic() - memory_seen > _MEMORY_INTERVAL_S:
                peak = max(peak, sum(map(_memory, cpu)))
                memory_seen = time.monotonic()
            time.sleep(0.05)
        wall = time.monotonic() - started
        if process.returncode:
            log.seek(0)
            sys.exit(log.read().decode()[-2000:])
    written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    shutil.rmtree(output)
    run = Run(images, wall, sum(cpu.values()), peak / 1e6, written / 1e6)
    print(
        f"{name:<33} {images:6,} images {run.wall_s:6.1f} s {run.cpu_s:6.1f} CPU-s "
        f"{run.per_cpu_s:6,.0f} /CPU-s {images / run.wall_s:6,.0f} /s {run.peak_mb:6,.0f} MB peak "
        f"{run.output_mb:6,.0f} MB out",
        flush=True,
    )
    return run


def _session(session: int) -> dict[int, float]:
    """CPU seconds of each process of a session, by its id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found[int(entry.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def _memory(process: int) -> float:
    """Bytes that a process has in memory; of a page that several share, its part."""
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * float(line.split()[1])
    except OSError:
        pass
    return 0.0  # it has ended


def ours(corpus: Path | str, output: Path, workers: int) -> list[str]:
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
    from beam_jobs.drawing import fractals

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


def measure_buckets(root: Path, images: int = 3000, delay_s: float = 0.02) -> None:
    """Print images a second of one worker, requests and bytes, for a tar and for a folder."""
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
    import loopback
    from counting_proxy import control

    from groundwork import storage

    corpus = make_corpus(root / "corpus", images)
    files = sorted(corpus.rglob("*.jpg"))
    with tarfile.open(root / "corpus.tar", "w") as archive:
        for path in files:
            archive.add(path, path.relative_to(corpus).as_posix())
    size = sum(path.stat().st_size for path in files)
    with loopback.gcs_server() as url, loopback.proxy(url) as through:
        bucket = loopback.make_bucket("gs")
        sources = {f"{bucket}/corpus.tar": root / "corpus.tar"}
        sources |= {f"{bucket}/corpus/{path.relative_to(corpus)}": path for path in files}
        for target, path in sources.items():
            with storage.create(target) as file:
                file.write(path.read_bytes())
        os.environ["STORAGE_EMULATOR_HOST"] = through

        def add(name: str, command: list[str], total: int) -> None:
            control(through, f"reset=1&delay={delay_s}")
            started = time.monotonic()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                command,
                check=True,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            seconds = time.monotonic() - started
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            counts = control(through)
            print(
                f"{name:<33} {images / seconds:5.0f} images/s {images / cpu_s:5.0f} /CPU-s "
                f"{counts['requests'] / images:5.2f} requests an image "
                f"{counts['received'] / total:5.3f} × the bytes",
                flush=True,
            )

        tar = (root / "corpus.tar").stat().st_size
        place = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--in_place",
            f"{bucket}/corpus.tar",
        ]
        add("a tar, on this machine", ours(f"{bucket}/corpus.tar", root / "a", 1), tar)
        add("a tar in place, listed", [*place, "list"], tar)
        add("a tar in place, listed and read", [*place, "read"], tar)
        add("a folder", ours(f"{bucket}/corpus", root / "b", 1), size)


def read_in_place(tar: str, what: str) -> None:
    """List a tar, and read its images in a random order, as a worker of a cluster does."""
    sys.path.insert(0, str(REPOSITORY))
    from beam_jobs.corpus import image_reader, tar_source
    from beam_jobs.corpus.entries import Entry

    entries = [entry for entry in tar_source.list_tar(tar, "") if isinstance(entry, Entry)]
    if what == "read":
        np.random.default_rng(0).shuffle(entries)  # type: ignore[arg-type]
        for _ in image_reader.read(image_reader.Wanted(entry.key, entry) for entry in entries):
            pass


PEERS = {"tfds": write_with_tfds, "webdataset": write_with_webdataset}
LABELS = {
    "build_dataset": "build_dataset",
    "tfds": "TFDS BeamBasedBuilder",
    "webdataset": "webdataset ShardWriter",
}


def measure_jobs(root: Path, peer_images: int, many: int) -> None:
    """Print the cost of each job, then what follows from them."""
    runs: dict[tuple[str, int, int], Run] = {}

    def add(name: str, workers: int, images: int, corpus: Path) -> None:
        output = root / "output"
        build = name == "build_dataset"
        command = ours(corpus, output, workers) if build else peer(name, corpus, output, workers)
        label = f"{LABELS[name]}, {workers} worker{'s' * (workers > 1)}"
        runs[name, workers, images] = measure(label, command, images, output)

    corpus = make_corpus(root / "peers", peer_images)
    for name in LABELS:
        if name == "webdataset" and importlib.util.find_spec(name) is None:
            continue
        for workers in (1,) if name == "webdataset" else (1, 2):
            add(name, workers, peer_images, corpus)
    few, half = many // 25, many // 2
    for images in (few, half, many):
        corpus = make_corpus(root / f"{images}", images)
        add("build_dataset", 1, images, corpus)
    add("build_dataset", 2, many, corpus)

    def job(workers: int, images: int) -> Run:
        return runs["build_dataset", workers, images]

    print()
    for workers in (1, 2):
        ratio = job(workers, peer_images).per_cpu_s / runs["tfds", workers, peer_images].per_cpu_s
        print(f"per CPU-second of the TFDS builder, {workers} worker(s): {ratio:.1f} × (target 2)")
    memory = job(1, many).peak_mb / job(1, few).peak_mb
    print(f"peak memory from {few:,} to {many:,} images: × {memory:.2f} (target: flat)")
    linear = job(1, many).wall_s / job(1, half).wall_s
    print(f"time from {half:,} to {many:,} images: × {linear:.2f} (target at most 2.1)")
    gain = job(1, many).wall_s / job(2, many).wall_s
    print(f"speed from 1 to 2 workers, {many:,} images: × {gain:.2f} (target at least 1.8)")


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        PEERS[sys.argv[2]](*sys.argv[3:6])
        return
    if sys.argv[1:2] == ["--in_place"]:
        read_in_place(*sys.argv[2:4])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fractals", action="store_true")
    parser.add_argument("--buckets", action="store_true")
    options = parser.parse_args()
    if options.fractals:
        measure_fractals()
        return
    with tempfile.TemporaryDirectory() as name:
        if options.buckets:
            measure_buckets(Path(name))
            return
        measure_jobs(Path(name), *((1000, 10_000) if options.quick else (4000, 50_000)))


if __name__ == "__main__":
    main()
