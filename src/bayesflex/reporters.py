"""Reporters: listeners of a running fit that show or write what happens.

Each follows ``protocols.Reporter`` and may be called from several threads at
once. A reporter never changes a fit; one that cannot write its file stops it
with an InputError.
"""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from bayesflex.errors import InputError
from bayesflex.metrics import KEY_COLUMNS, MetricsTable, metrics_cells, metrics_table, write_metrics
from bayesflex.progress import ChainProgress
from bayesflex.protocols import Record, Reporter


class NullReporter:
    """Listens to nothing, so that a loop needs no ``if``."""

    def start(self, n_chains: int, n_iterations: int) -> None:
        """Do nothing."""

    def record(self, row: Record) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class Reporters:
    """Passes everything on to several reporters, in their order."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self.reporters = tuple(reporters)

    def start(self, n_chains: int, n_iterations: int) -> None:
        """Start each."""
        for reporter in self.reporters:
            reporter.start(n_chains, n_iterations)

    def record(self, row: Record) -> None:
        """Give the row to each."""
        for reporter in self.reporters:
            reporter.record(row)

    def message(self, text: str) -> None:
        """Give the text to each."""
        for reporter in self.reporters:
            reporter.message(text)

    def finish(self) -> None:
        """Finish each, also when one of them fails; the failure is raised afterwards."""
        with ExitStack() as stack:
            for reporter in reversed(self.reporters):  # the stack unwinds from its end
                stack.callback(reporter.finish)


class ListReporter:
    """Keeps everything in memory: for notebooks, figures and tests."""

    def __init__(self) -> None:
        self.rows: list[Record] = []
        self.messages: list[str] = []
        self.finished = False
        self._lock = threading.Lock()

    def start(self, n_chains: int, n_iterations: int) -> None:
        """Forget what an earlier fit left."""
        with self._lock:
            self.rows, self.messages, self.finished = [], [], False

    def record(self, row: Record) -> None:
        """Keep the row."""
        with self._lock:
            self.rows.append(row)

    def message(self, text: str) -> None:
        """Keep the text."""
        with self._lock:
            self.messages.append(text)

    def finish(self) -> None:
        """Note that the fit ended."""
        with self._lock:
            self.finished = True

    def table(self) -> MetricsTable:
        """Return what was recorded so far."""
        with self._lock:
            return metrics_table(list(self.rows))


class MetricsReporter:
    """Writes ``metrics.csv``: a row per chain and iteration.

    While the fit runs, rows go in order of arrival to ``metrics.csv.part``, at most ``interval`` seconds late. At
    the end the sorted table takes its name, whole or not at all, and the part is removed.

    Parameters
    ----------
    path
        The file.
    columns
        Its columns of numbers, see :func:`~bayesflex.metrics.metric_columns`. Values of a record that have no
        column are left out; columns that a record has no value for stay empty.
    interval
        Seconds between flushes.
    clock
        Seconds since some start.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        interval: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.columns = tuple(columns)
        self._interval = interval
        self._clock = clock
        self._rows: list[Record] = []
        self._n_flushed = 0
        self._flushed = 0.0
        self._listening = False
        self._lock = threading.Lock()

    def start(self, n_chains: int, n_iterations: int) -> None:
        """Make the part, with the header.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        with self._lock:
            self._rows, self._n_flushed, self._listening = [], 0, True
            self._write("w", [[*KEY_COLUMNS, *self.columns]])

    def record(self, row: Record) -> None:
        """Add a row.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        with self._lock:
            if not self._listening:
                return  # a chain that had not heard of the end
            self._rows.append(row)
            if self._clock() - self._flushed >= self._interval:
                new = self._rows[self._n_flushed :]
                self._n_flushed = len(self._rows)
                self._write("a", [metrics_cells(row, self.columns) for row in new])

    def message(self, text: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Write the sorted table and remove the part; a second call does nothing.

        Raises
        ------
        InputError
            If the file cannot be written; the part stays then.
        """
        with self._lock:
            if not self._listening:
                return
            self._listening = False
            write_metrics(self._rows, self.columns, self.path)
            self.part.unlink(missing_ok=True)

    def _write(self, mode: str, lines: list[list[str]]) -> None:
        # The file is closed each time, so that no failure leaves one open with text that still wants to be written.
        with _writing(self.part), self.part.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
        self._flushed = self._clock()


class LogReporter:
    """Appends messages, changes of stage and a summary of each chain to ``log.txt``, with the local time.

    Every line is on the disk when the call returns. An existing log is continued, as a resumed fit wants.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chains: dict[int, ChainProgress] = {}
        self._lock = threading.Lock()

    def start(self, n_chains: int, n_iterations: int) -> None:
        """Log the size of the fit."""
        with self._lock:
            self._chains = {}
            self._write(f"fit begins: {n_chains} chains of {n_iterations} iterations")

    def record(self, row: Record) -> None:
        """Log a change of stage."""
        with self._lock:
            chain = self._chains.setdefault(row.chain, ChainProgress())
            if chain.add(row):
                self._write(f"chain {row.chain}: {row.stage} from iteration {row.iteration}, {chain.summary()}")

    def message(self, text: str) -> None:
        """Log a text."""
        with self._lock:
            self._write(text)

    def finish(self) -> None:
        """Log how each chain ended."""
        with self._lock:
            for number, chain in sorted(self._chains.items()):
                self._write(f"chain {number}: ended at iteration {chain.iteration}, {chain.summary()}")
            self._chains = {}
            self._write("fit ends")

    def _write(self, text: str) -> None:
        stamp = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with _writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(f"{stamp}  {line}\n" for line in text.splitlines())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a refusal of the operating system into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose another folder with -o."
        ) from error
