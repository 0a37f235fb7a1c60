"""What a page of the documentation tells people to type: its fenced blocks, and their commands.

A fence of shell or Python says behind its language what becomes of it:

    ```bash run                      tests/docs runs it
    ```bash tested=tests/FILE        that test runs it, perhaps in small
    ```bash needs=tpu                nothing here runs it, for want of a TPU
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MENU = re.findall(r"^[\w/]+$", (ROOT / "docs/index.md").read_text(encoding="utf-8"), re.MULTILINE)
"""The pages of docs/, in the order in which they are to be read."""
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/index.md")]
PAGES += [page for name in MENU if (page := ROOT / "docs" / f"{name}.md").is_file()]

NEEDS = {
    "tpu",
    "gpu",
    "cluster",
    "cloud",
    "docker",
    "kubernetes",
    "network",
    "data",  # a corpus or a dataset that has to be got by hand
    "model",  # a model of the reader's own
    "time",  # more than a test may take
    "peers",  # libraries to compare with, as benchmarks/requirements.txt lists them
}
SHELLS = ("bash", "sh", "shell", "console")
FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2`*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page."""

    page: Path
    line: int
    info: tuple[str, ...]
    """Language and marks."""
    text: str

    @property
    def language(self) -> str:
        """The language, "" where none is given."""
        return self.info[0] if self.info else ""

    @property
    def marks(self) -> tuple[str, ...]:
        """What stands behind the language."""
        return self.info[1:]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def fences(page: Path) -> Iterator[Fence]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        indent = match[1]
        body = "".join(part.removeprefix(indent) for part in match[4].splitlines(keepends=True))
        yield Fence(page, line, tuple(match[3].split()), body)


def all_fences() -> list[Fence]:
    """The fenced blocks of README, CONTRIBUTING and docs/."""
    return [fence for page in PAGES for fence in fences(page)]


def shell_fences() -> list[Fence]:
    """Those that people are to type into a shell."""
    return [fence for fence in all_fences() if fence.language in SHELLS]


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell script, as words; comments and variables are left out."""
    open_line = ""
    for line in text.replace("\\\n", " ").splitlines():
        open_line += f"{line} "
        try:
            words = shlex.split(open_line.removeprefix("$ "), comments=True)
        except ValueError:  # a quotation that goes on in the next line
            continue
        open_line = ""
        for part in _parts(words):
            command = list(itertools.dropwhile(re.compile(r"[A-Za-z_]+=").match, part))
            if command:
                yield command


def _parts(words: list[str]) -> Iterator[list[str]]:
    """The commands of a line, which `&&`, `|` and the like part; where output goes is left out."""
    part: list[str] = []
    for word in [*words, ";"]:
        if word in ("&&", "||", "|", ";"):
            yield part[: part.index(">")] if ">" in part else part
            part = []
        elif word != "$@":
            part.append(word)
