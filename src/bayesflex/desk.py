"""Desk: where one thread lays out the tasks of an evaluation, and others that wait in compiled code help it.

A thread that sleeps takes as long to wake up as a whole evaluation takes. So helpers wait awake, without the
interpreter's lock, as long as the one whom they help is at work in compiled code and a moment longer; who lays out
tasks does them too, and needs no helper to get on. A task writes where no other one does: who does which changes no
bit of a result.

The desk is one array of integers: which task is next, how many are done, how many there are, whether the one who lays
them out is at work, and whether the desk is closed. They are read and written in one piece and in order (atomic
operations of LLVM), each in a line of the cache of its own.
"""

# Numba's extension interface has no types.
# mypy: disallow-untyped-defs=false

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL, PART
from bayesflex.team import Team

#: Numbers of 64 bits in two lines of the cache: processors fetch them in pairs.
_LINE = 16

_NEXT, _DONE, _COUNT, _AT_WORK, _CLOSED = (_LINE * k for k in range(5))

#: How often a helper looks for a task before it leaves while nobody is at work: some tenths of a millisecond, more than
#: lie between two evaluations one after the other.
_PATIENCE = 4000

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)

#: What tells a processor that a loop waits: LLVM's name of the instruction, and its numbers.
_PAUSE, _YIELD = ("llvm.x86.sse2.pause", ()), ("llvm.aarch64.hint", (1,))
_HINT = {"x86_64": _PAUSE, "AMD64": _PAUSE, "aarch64": _YIELD, "arm64": _YIELD}.get(platform.machine())


def _address(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def _look(typingctx, array, index):
    """Return an element; what the thread that wrote it had written before is then seen too."""

    def code(context, builder, sig, args):
        return builder.load_atomic(_address(context, builder, array, *args), "acquire", 8)

    return types.int64(array, types.intp), code


@intrinsic
def _put(typingctx, array, index, value):
    """Set an element, after all that was written before."""

    def code(context, builder, sig, args):
        builder.store_atomic(args[2], _address(context, builder, array, *args[:2]), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), code


@intrinsic
def _count_up(typingctx, array, index):
    """Add one to an element and return what it was: two threads never get the same number."""

    def code(context, builder, sig, args):
        return builder.atomic_rmw(
            "add", _address(context, builder, array, *args), ir.Constant(_INT64, 1), ordering="acq_rel"
        )

    return types.int64(array, types.intp), code


@intrinsic
def _pause(typingctx):
    """Let a moment pass."""

    def code(context, builder, sig, args):
        if _HINT is not None:
            name, numbers = _HINT
            kind = ir.FunctionType(ir.VoidType(), [_INT32] * len(numbers))
            function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            builder.call(function, [ir.Constant(_INT32, number) for number in numbers])
        return context.get_dummy_value()

    return types.void(), code


@njit(**PART)
def lay_out(desk):
    """Offer all tasks; those laid out before must be done."""
    _put(desk, _DONE, 0)
    _put(desk, _NEXT, 0)


@njit(**PART)
def take(desk):
    """Return the number of a task that nobody else will do, or -1 where none is left."""
    # Asked first: a number beyond the last one that is counted on would be a line of the cache taken from the others.
    if _look(desk, _NEXT) >= desk[_COUNT]:
        return -1
    task = _count_up(desk, _NEXT)
    return task if task < desk[_COUNT] else -1


@njit(**PART)
def put_back(desk):
    """Say that a task is done."""
    _count_up(desk, _DONE)


@njit(**PART)
def wait_for_all(desk):
    """Return when all tasks are done, those of others too."""
    while _look(desk, _DONE) < desk[_COUNT]:
        _pause()


@njit(**KERNEL)
def wait_for_task(desk):
    """Return True where there are tasks, and False where the desk is closed or nobody has been at work for a while."""
    patience = _PATIENCE
    while patience > 0:
        if _look(desk, _CLOSED):
            return False
        if _look(desk, _NEXT) < desk[_COUNT]:
            return True
        if not _look(desk, _AT_WORK):
            patience -= 1
        _pause()
    return False


class Desk:
    """A desk, and the helpers that wait at it.

    Parameters
    ----------
    n_tasks
        Tasks of each evaluation.
    team
        Where helpers come from, or None for none.
    """

    def __init__(self, n_tasks: int, team: Team | None = None) -> None:
        #: What compiled code needs of it.
        self.array: NDArray[np.int64] = np.zeros(5 * _LINE, np.int64)
        self.array[_COUNT] = self.array[_NEXT] = self.array[_DONE] = n_tasks
        self._team, self._most = team, n_tasks - 1
        self._lock = threading.Lock()
        self._n_helpers = 0

    @contextmanager
    def at_work(self, help_at: Callable[[], object]) -> Iterator[None]:
        """Have as many free threads help as may, for a while; those that are at the desk stay.

        Parameters
        ----------
        help_at
            Does tasks of this desk while there are some: :func:`wait_for_task` says for how long.
        """
        if self._team is None:
            yield
            return
        self.array[_AT_WORK] = 1
        self._call(self._team, help_at)
        try:
            yield
        finally:
            self.array[_AT_WORK] = 0

    def _call(self, team: Team, help_at: Callable[[], object]) -> None:
        def visit() -> None:
            try:
                help_at()
            finally:
                with self._lock:
                    self._n_helpers -= 1

        with self._lock:
            while self._n_helpers < min(self._most, team.share) and team.lend(visit):
                self._n_helpers += 1

    def close(self) -> None:
        """Send all helpers away."""
        self.array[_CLOSED] = 1
