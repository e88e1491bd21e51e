"""Numbers that count what is done with them, and what kernels use in their place of the compiled ones.

A kernel's Python function runs on these numbers, so that a test can say how many operations it does. What is computed
twice from the same operands counts once, as a compiler does it once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

WIDTH = 8


class Tally:
    """Counts operations: the sum of all, and of those the divisions and roots."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._known: dict[Any, Any] = {}

    def once(self, kind: str, size: int, operands: tuple, compute: Callable[[], Any]) -> Any:
        """Return the result of an operation on numbers that is counted if it is new."""
        key = (kind, *(id(x) if isinstance(x, Number | Lanes) else float(x) for x in operands))
        if key not in self._known:
            self.counts["operations"] += size
            self.counts[kind] += size
            # The operands are kept, so that no other number gets their identity.
            self._known[key] = operands, compute()
        return self._known[key][1]


class Number(float):
    """A number that tallies what is done with it."""

    tally: Tally

    def __new__(cls, value: float, tally: Tally) -> Number:
        number = super().__new__(cls, value)
        number.tally = tally
        return number

    def _with(self, kind: str, a: Any, b: Any, value: float) -> Number:
        return self.tally.once(kind, 1, (a, b), lambda: Number(value, self.tally))

    def __add__(self, other):
        return self._with("add", self, other, float(self) + float(other))

    def __radd__(self, other):
        return self._with("add", other, self, float(other) + float(self))

    def __sub__(self, other):
        return self._with("sub", self, other, float(self) - float(other))

    def __rsub__(self, other):
        return self._with("sub", other, self, float(other) - float(self))

    def __mul__(self, other):
        return self._with("mul", self, other, float(self) * float(other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self._with("div", self, other, float(self) / float(other))

    def __neg__(self):
        return Number(-float(self), self.tally)


class Lanes:
    """Eight numbers at a time; constants are not tallied among themselves."""

    def __init__(self, values, tally: Tally | None = None) -> None:
        self.values = np.array([float(value) for value in values])
        self.tally = tally

    def _with(self, kind: str, other: Lanes, values) -> Lanes:
        tally = self.tally or other.tally
        if tally is None:
            return Lanes(values)
        return tally.once(kind, WIDTH, (self, other), lambda: Lanes(values, tally))

    def __add__(self, other):
        return self._with("add", other, self.values + other.values)

    def __sub__(self, other):
        return self._with("sub", other, self.values - other.values)

    def __mul__(self, other):
        return self._with("mul", other, self.values * other.values)

    def __truediv__(self, other):
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._with("div", other, self.values / other.values)

    def __lt__(self, other):
        return self.values < other.values

    def __gt__(self, other):
        return self.values > other.values


def counted(values, tally: Tally) -> np.ndarray:
    """Return an array of numbers that tally."""
    array = np.empty(np.shape(values), dtype=object)
    for index, value in np.ndenumerate(np.asarray(values, dtype=np.float64)):
        array[index] = Number(value, tally)
    return array


def _tally_of(values) -> Tally | None:
    return next((value.tally for value in values if isinstance(value, Number)), None)


def splat(value) -> Lanes:
    return Lanes([value] * WIDTH, _tally_of([value]))


def load(array, index) -> Lanes:
    values = list(array.reshape(-1)[index : index + WIDTH])
    return Lanes(values, _tally_of(values))


def store(array, index, value) -> None:
    array.reshape(-1)[index : index + WIDTH] = [Number(x, value.tally) if value.tally else x for x in value.values]


def select(mask, a, b) -> Lanes:
    return Lanes(np.where(mask, a.values, b.values), a.tally or b.tally)


def square_root(value) -> Lanes:
    return value.tally.once("root", WIDTH, (value,), lambda: Lanes(np.sqrt(value.values), value.tally))


def _folded(value, width: int) -> np.ndarray:
    def fold():
        values = value.values
        while len(values) > width:
            values = values[: len(values) // 2] + values[len(values) // 2 :]
        return values

    return value.tally.once("add", WIDTH - width, (value, width), fold)


def multiply_add(a, b, c) -> Lanes:
    return a * b + c


def negative(value) -> Lanes:
    return Lanes(-value.values, value.tally)


def total(value) -> Number:
    return Number(_folded(value, 1)[0], value.tally)


def total_even(value) -> Number:
    return Number(_folded(value, 2)[0], value.tally)


def total_odd(value) -> Number:
    return Number(_folded(value, 2)[1], value.tally)


def load_points(points, index):
    rows = points[index : index + WIDTH]
    return tuple(Lanes(rows[:, axis], _tally_of(rows[:, axis])) for axis in range(3))


def add_to_points(points, index, *forces) -> None:
    for axis, force in enumerate(forces):
        after = load_points(points, index)[axis] + force
        points[index : index + WIDTH, axis] = [Number(x, after.tally) for x in after.values]


def store_points(points, index, *axes) -> None:
    for axis, lanes in enumerate(axes):
        points[index : index + WIDTH, axis] = [Number(x, lanes.tally) for x in lanes.values]


def _shift(by: int):
    def shifted(before, value):
        values = np.concatenate([before.values, value.values])[WIDTH - by : 2 * WIDTH - by]
        return Lanes(values, before.tally or value.tally)

    return shifted


#: What stands for the functions of ``bayesflex.simd`` in a module of kernels.
VECTORS = {
    "splat": splat,
    "load": load,
    "prefetch": lambda array, index: None,
    "store": store,
    "broadcast": lambda array, index: splat(np.ravel(array)[index]),
    "multiply_add": multiply_add,
    "negative": negative,
    "select": select,
    "square_root": square_root,
    "total": total,
    "total_even": total_even,
    "total_odd": total_odd,
    "load_points": load_points,
    "store_points": store_points,
    "add_to_points": add_to_points,
    "shifted_1": _shift(1),
    "shifted_2": _shift(2),
    "shifted_3": _shift(3),
    "lowest_bit": lambda bits: (int(bits) & -int(bits)).bit_length() - 1,
}

#: What stands for ``numpy`` and ``math`` in a kernel that makes its own arrays: exponentials are not counted.
ARRAYS = SimpleNamespace(
    empty=lambda n: np.empty(n, dtype=object), arange=np.arange, ceil=np.ceil, floor=np.floor, zeros=np.zeros
)
MATH = SimpleNamespace(
    exp=lambda x: Number(math.exp(x), x.tally), ceil=math.ceil, floor=math.floor, pi=math.pi, nan=math.nan
)


def python_of(module, monkeypatch, name: str, **replaced):
    """Return a kernel's Python function, which calls what is here in place of compiled functions."""
    for key, value in (VECTORS | replaced).items():
        if hasattr(module, key):
            monkeypatch.setattr(module, key, value)
    return getattr(module, name).py_func
