"""Running several chains at the same time, and stopping all when one fails or the user asks to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self, TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")

#: How often an interrupt by the user is looked for, in seconds.
_POLL = 0.2


class Stopped(Exception):
    """Another chain failed or the user asked to stop: not a cause, but a consequence."""


class Beside:
    """Threads that do some tasks beside the one that asks for them; with one thread each is done as it is asked for.

    A context: at its end all tasks are done.

    Parameters
    ----------
    n_threads
        Number of threads, the one that asks among them.
    """

    def __init__(self, n_threads: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads - 1) if n_threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            # What nobody waits for any more, after a failure or an interrupt, is not begun.
            self._pool.shutdown(cancel_futures=error is not None)

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Return what will hold the task's result, or its failure."""
        if self._pool is not None:
            return self._pool.submit(task)
        done: Future[T] = Future()
        try:
            done.set_result(task())
        except Exception as error:
            done.set_exception(error)
        return done


def run_all(tasks: Sequence[Callable[[], T]], n_threads: int, stop: threading.Event) -> list[T]:
    """Return what the tasks return, in their order.

    Linear algebra libraries are held to one thread meanwhile: the tasks use the cores.

    Parameters
    ----------
    tasks
        To run, at most ``n_threads`` at a time.
    n_threads
        Number of threads.
    stop
        Set when the first task fails, at an interrupt, and at the end; tasks that see it raise :class:`Stopped`.

    Raises
    ------
    Exception
        The first failure that is a cause.
    KeyboardInterrupt
        Passed on once all tasks have ended.
    """

    def guarded(task: Callable[[], T]) -> T:
        try:
            return task()
        except BaseException:
            # In this thread: the next task that waits for it must find the mark when it begins.
            stop.set()
            raise

    with threadpool_limits(1), ThreadPoolExecutor(min(n_threads, len(tasks))) as pool:
        futures = [pool.submit(guarded, task) for task in tasks]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=_POLL, return_when=FIRST_EXCEPTION)
                for future in done:
                    error = future.exception()
                    if error is not None and not isinstance(error, Stopped):
                        raise error
        finally:
            # At an interrupt: tasks that run or wait stop at their next iteration.
            stop.set()
    return [future.result() for future in futures]
