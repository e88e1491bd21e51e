"""Team: the threads of a program, shared by those that work on their own and those that help them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class Team:
    """So many threads, of which some work on their own, chains for instance, and the others help.

    A context: at its end the helpers are gone, and who works on does so alone.

    Parameters
    ----------
    n_threads
        Number of threads, at least 1; those that work on their own are made by others.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._n_working = self._n_helping = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(n_threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._n_threads = 1
        self._pool.shutdown()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the thread that asks among those that work on their own, for a while."""
        with self._lock:
            self._n_working += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_working -= 1

    @property
    def share(self) -> int:
        """Number of helpers that each thread that works on its own may have; who asks counts as one of these."""
        working = max(self._n_working, 1)
        return max(-(-(self._n_threads - working) // working), 0)

    def lend(self, task: Callable[[], object]) -> bool:
        """Have a free thread do a task, which must not fail, and return whether there is one; never waits."""
        with self._lock:
            if max(self._n_working, 1) + self._n_helping >= self._n_threads:
                return False
            self._n_helping += 1

        def help_out() -> None:
            try:
                task()
            finally:
                with self._lock:
                    self._n_helping -= 1

        self._pool.submit(help_out)
        return True

    def run(self, tasks: Sequence[Callable[[], object]]) -> None:
        """Run all tasks, each by whoever is free, and return when all are done; passes on a failure."""
        numbers = itertools.count()

        def work() -> None:
            while (number := next(numbers)) < len(tasks):
                tasks[number]()

        helping = [self._pool.submit(work) for _ in range(min(self._n_threads, len(tasks)) - 1)]
        work()
        for helper in helping:
            helper.result()
