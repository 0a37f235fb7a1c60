"""One finding of the preflight, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from groundwork.errors import UserError

Status = Literal["ok", "warning", "error", "not checked"]


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at, in one or two words.
        status: `error`: the run would fail. `warning`: it may fail, or run badly. `not checked`:
            what is needed for the check is not here.
        found: what was found.
        remedy: what to do; empty where there is nothing to do.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


def table(checks: Sequence[Check]) -> str:
    """The findings, one a line, each remedy below its finding."""
    name_width = max(len(check.name) for check in checks)
    status_width = max(len(check.status) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.name:<{name_width}}  {check.status:<{status_width}}  {check.found}")
        if check.remedy:
            lines.append(f"{'':<{name_width}}  {'':<{status_width}}  → {check.remedy}")
    return "\n".join(lines)


def raise_first_error(checks: Sequence[Check]) -> None:
    """Raise a UserError for the first finding that is an error."""
    for check in checks:
        if check.status == "error":
            raise UserError(f"{check.name}: {check.found}{': ' * bool(check.remedy)}{check.remedy}")


def gigabytes(size: float) -> str:
    """Bytes in GB (1e9), or in MB below one."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
