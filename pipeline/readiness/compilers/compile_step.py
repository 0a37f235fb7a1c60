"""Compile a program for a target in a process of its own, with progress, time limit and cache."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from groundwork import storage
from groundwork.errors import JobError, UserError, one_line
from groundwork.user_cache import cache_folder
from pipeline.process.child_process import end_with_parent
from pipeline.readiness.compilers import compile_child
from pipeline.readiness.compilers.compile_child import VERSIONS, Answer, Request
from pipeline.readiness.compilers.refusal import is_about_memory, refusal
from pipeline.readiness.compilers.targets import Target
from pipeline.readiness.compilers.traffic import Traffic, traffic

TIME_LIMIT = 3600.0
INSTALL = "pip install '.[aot]'"
REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Compiled:
    """What a target's compiler made of a program, on one chip.

    Attributes:
        answer: the compiler's figures, and `flops` of the program as it was given.
        traffic: of one call, read from the optimized program.
        from_cache: whether it was compiled before.
    """

    answer: Answer
    traffic: Traffic
    from_cache: bool = False


class Refused(JobError):
    """The compiler does not take the program. One line that names the layer."""


class TooLarge(Refused):
    """The program does not fit into the chip's memory."""


def compile_program(
    program: bytes,
    target: Target,
    *,
    replicas: int,
    stablehlo: bool = False,
    loop_counts: tuple[int, ...] = (),
    time_limit: float = TIME_LIMIT,
    cache: Path | None = None,
    keep_text: Path | None = None,
) -> Compiled:
    """Compile a program, or find it among those that were.

    Args:
        program: serialized HloModuleProto, or StableHLO.
        target: what to compile for.
        replicas: that run the program side by side.
        stablehlo: whether the program is StableHLO.
        loop_counts: how often its loops run, from the outermost inwards; see `traffic`.
        time_limit: seconds that the compiler may take.
        cache: folder of what was compiled; None: `compiled` in the user's cache.
        keep_text: file for the optimized HLO, which is then compiled anew.

    Raises:
        UserError: the compiler is not installed.
        Refused: the compiler does not take the program; TooLarge: for want of memory.
        JobError: it takes too long, or crashed.
    """
    check_installed(target)
    request: Request = {
        "platform": target.platform,
        "topology": target.topology,
        "options": target.topology_options(),
        "replicas": replicas,
        "stablehlo": stablehlo,
    }
    folder = cache_folder("compiled") if cache is None else cache
    known = folder / f"{_fingerprint(program, request, loop_counts)}.json"
    if known.exists() and keep_text is None:
        found = json.loads(known.read_text())
        return Compiled(found["answer"], Traffic(**found["traffic"]), from_cache=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "program").write_bytes(program)
        (work / "request.json").write_text(json.dumps(request))
        _run_child(work, target, time_limit)
        answer: Answer = json.loads((work / "answer.json").read_text())
        text = (work / "program.txt").read_text()
    if "error" in answer:
        kind = TooLarge if is_about_memory(answer["error"]) else Refused
        raise kind(f"--compile {target.name}: {refusal(answer['error'], text)}")
    if keep_text is not None:
        keep_text.write_text(text)
    compiled = Compiled(answer, traffic(text, loop_counts))
    _remember(known, compiled)
    return compiled


def check_installed(target: Target) -> None:
    """Raise a UserError where the target's compiler is missing, or of another version."""
    others = ("libtpu",) if target.platform == "tpu" else ("jax-cuda12-plugin", "jax-cuda12-pjrt")
    for name in ("jax", "jaxlib", *others):
        wanted = VERSIONS[name]
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            raise UserError(
                f"--compile {target.name}: {name} {wanted} is needed, and is {found}: {INSTALL}"
            )


def _fingerprint(program: bytes, request: Request, loop_counts: tuple[int, ...]) -> str:
    rest = [request, VERSIONS, compile_child.GPU_FLAGS, loop_counts]
    return hashlib.sha256(program + json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _remember(path: Path, compiled: Compiled) -> None:
    """A cache that cannot be written costs the next run its time, and nothing else."""
    entry = json.dumps({"answer": compiled.answer, "traffic": asdict(compiled.traffic)})
    try:
        storage.write_text(str(path), entry)
    except OSError as error:
        print(f"warning   {path.parent} keeps nothing: {one_line(error)}", file=sys.stderr)


def _run_child(work: Path, target: Target, time_limit: float) -> None:
    command = [sys.executable, "-m", compile_child.__name__, str(work)]
    started = time.monotonic()
    log = work / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - it takes no lock
        ) as child,
    ):
        try:
            while child.poll() is None:
                seconds = time.monotonic() - started
                if seconds > time_limit:
                    raise JobError(
                        f"--compile {target.name}: the compiler is not done after "
                        f"{time_limit:.0f} s: allow it more, or compile a smaller model"
                    )
                _show(target, seconds)
                time.sleep(0.1)
        except BaseException:
            child.kill()
            raise
        finally:
            _show(target, None)
    if child.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise JobError(
            f"--compile {target.name}: the compiler ended with status {child.returncode}: "
            f"{one_line(ValueError(' '.join(last)))}"
        )


def _show(target: Target, seconds: float | None) -> None:
    """A line on the terminal that is written over; None wipes it."""
    if sys.stderr.isatty():
        line = "" if seconds is None else f"compiling for {target.name}: {seconds:.0f} s"
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
