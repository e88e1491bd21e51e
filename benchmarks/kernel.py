"""A kernel to be measured."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.timing import Repeated
from benchmarks.work import Work


@dataclass(frozen=True)
class Kernel:
    """A kernel by its name in the tables, what repeats it, and what it must do.

    One turn of ``repeated`` does the work ``steps`` times.
    """

    name: str
    repeated: Repeated
    work: Work
    steps: int = 1
