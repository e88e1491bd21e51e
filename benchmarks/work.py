"""What a kernel must do, and how fast the machine could do it: the roofline.

Operations are additions, subtractions, multiplications, divisions and square roots of numbers of 64 bits; a
multiply-add is two. Comparisons, choices, conversions, indices and exponentials are not counted. Bytes are those of
each array that must be read, plus those of each that must be written, once; workspaces that another way of doing the
same would not need are not among them. Both are the least that the work asks for, so that a kernel that does more of
either than it must is the further from the roof.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.machine import Level, Machine


@dataclass(frozen=True)
class Work:
    """What one turn of a kernel must do.

    Parameters
    ----------
    reads, writes
        Arrays read and written; one that is changed is in both.
    operations
        Those that count in the result.
    executed
        Operations including those of lanes whose result is thrown away; None where that is the same.
    divisions, roots
        How many of the operations are one.
    chain
        Multiply-adds of the longest chain in which each needs the one before.
    scattered
        Bytes of arrays of which only parts are needed.
    """

    reads: tuple[np.ndarray, ...]
    writes: tuple[np.ndarray, ...]
    operations: float
    executed: float | None = None
    divisions: float = 0.0
    roots: float = 0.0
    chain: float = 0.0
    scattered: float = 0.0

    @property
    def moved(self) -> float:
        """Bytes that must move."""
        return float(sum(array.nbytes for array in (*self.reads, *self.writes)) + self.scattered)

    @property
    def footprint(self) -> float:
        """Bytes that must be at hand: each array once."""
        return float(sum(array.nbytes for array in _distinct((*self.reads, *self.writes))) + self.scattered)


def whole_of(parts: Iterable[Work], operations: float, arrays: tuple[np.ndarray, ...] = ()) -> Work:
    """Return the work of doing all the parts one after the other, with some more operations and arrays.

    What the parts hand to each other need not move: each array does once.
    """
    parts = list(parts)
    return Work(
        reads=_distinct([*arrays, *(array for part in parts for array in (*part.reads, *part.writes))]),
        writes=(),
        operations=operations + sum(part.operations for part in parts),
        executed=operations + sum(part.executed or part.operations for part in parts),
        divisions=sum(part.divisions for part in parts),
        roots=sum(part.roots for part in parts),
        chain=sum(part.chain for part in parts),
        scattered=sum(part.scattered for part in parts),
    )


def _distinct(arrays: Iterable[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return the arrays without those that begin where another does and are no longer."""
    longest: dict[int, np.ndarray] = {}
    for array in arrays:
        place = array.__array_interface__["data"][0]
        if place not in longest or array.nbytes > longest[place].nbytes:
            longest[place] = array
    return tuple(longest.values())


@dataclass(frozen=True)
class Bound:
    """The least time that a machine could take, s, by what it would be spent on.

    ``bytes`` and ``operations`` make the roof. ``special``, divisions and roots, and ``chain``, waiting for results,
    are limits of the machine too, which the roof leaves out.
    """

    level: str
    bytes: float
    operations: float
    special: float
    chain: float

    @property
    def roof(self) -> float:
        """The larger of bytes over bandwidth and operations over peak, s."""
        return max(self.bytes, self.operations)

    @property
    def limit(self) -> tuple[str, float]:
        """The largest of all limits: its name and its time, s."""
        limits = {
            f"bytes from {self.level}": self.bytes,
            "operations": self.operations,
            "divisions and roots": self.special,
            "waiting for results": self.chain,
        }
        return max(limits.items(), key=lambda item: item[1])


def bound_of(work: Work, machine: Machine) -> Bound:
    """Return the least time that the machine could take for the work."""
    level: Level = machine.level_of(work.footprint)
    return Bound(
        level=level.name,
        bytes=work.moved / level.fastest,
        operations=work.operations / machine.vector,
        special=work.divisions / machine.division + work.roots / machine.root,
        chain=work.chain * machine.latency,
    )
