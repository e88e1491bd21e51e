"""Team: a few threads that share the work of one evaluation, where there are more cores than chains."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Team:
    """The thread that asks and ``n_helpers`` more. A context: at its end the helpers are gone.

    Parameters
    ----------
    n_helpers
        Number of further threads, at least 1.
    """

    def __init__(self, n_helpers: int) -> None:
        self._n_helpers = n_helpers
        self._pool = ThreadPoolExecutor(n_helpers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def run(self, tasks: Sequence[Callable[[], object]]) -> None:
        """Run all tasks, each by whoever is free, and return when all are done; passes on a failure."""
        numbers = itertools.count()

        def work() -> None:
            while (number := next(numbers)) < len(tasks):
                tasks[number]()

        helping = [self._pool.submit(work) for _ in range(min(self._n_helpers, len(tasks) - 1))]
        work()
        for helper in helping:
            helper.result()
