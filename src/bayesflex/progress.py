"""Where a fit is, shown as it runs: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from bayesflex.protocols import Record

#: Iterations over which the acceptance is averaged for display.
_RECENT = 20

#: A time left is told once a share of one over this of what is left has been made.
_TELLING = 20


class ProgressReporter:
    """Shows where a fit is: a live table on a terminal, plain lines anywhere else.

    Plain lines come at each change of stage, and otherwise every ``interval`` seconds.

    Parameters
    ----------
    console
        Where to print.
    interval
        Seconds between plain lines.
    clock
        Seconds since some start.
    """

    def __init__(self, console: Console, interval: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._interval = interval
        self._clock = clock
        # Printing takes locks of the console's own, under which the live display calls back for its content:
        # nothing is ever printed while this lock is held.
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._chains: dict[int, ChainProgress] = {}
        self._n_iterations = 0
        self._began = 0.0
        self._printed = 0.0
        self._announced: set[str] = set()

    def start(self, n_chains: int, n_iterations: int) -> None:
        """Begin the display."""
        with self._lock:
            self._chains = {chain: ChainProgress() for chain in range(n_chains)}
            self._n_iterations = n_iterations
            self._began = self._printed = self._clock()
            self._announced = set()
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)
            self._live.start()

    def record(self, row: Record) -> None:
        """Take note of an iteration; without a terminal, print a line when one is due."""
        line = None
        with self._lock:
            self._chains.setdefault(row.chain, ChainProgress()).add(row)
            due = row.stage not in self._announced  # by the first chain that gets there
            self._announced.add(row.stage)
            now = self._clock()
            if self._live is None and (due or now - self._printed >= self._interval):
                line, self._printed = self._line(now), now
        if line is not None:
            self._print(line)

    def message(self, text: str) -> None:
        """Print a text, above the live display where there is one."""
        self._print(text)

    def finish(self) -> None:
        """End the display, leaving its last state to be read."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
            return
        with self._lock:
            line = self._line(self._clock(), ended=True) if any(c.stage for c in self._chains.values()) else None
            self._chains = {}
        if line is not None:
            self._print(line)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _overall(self, now: float) -> tuple[int, int, str]:
        """Return iterations done and to do, over all chains, and the time left in words."""
        total = self._n_iterations * len(self._chains)
        done = sum(chain.iteration + 1 for chain in self._chains.values())
        made_here = done - sum(chain.first for chain in self._chains.values())  # a resumed fit starts in the middle
        elapsed = now - self._began
        if done >= total:
            return done, total, f"done in {_duration(elapsed)}"
        # The first iterations wait for kernels to be compiled, and tell nothing of those to come.
        known = made_here > 0 and made_here * _TELLING >= total - done
        left = f"{_duration(elapsed / made_here * (total - done))} left" if known else "time left unknown"
        return done, total, left

    def _line(self, now: float, ended: bool = False) -> str:
        """Return the state of the fit in one line; at its end, how long it took."""
        chains = [chain for chain in self._chains.values() if chain.stage]
        first, last = min(chain.iteration for chain in chains), max(chain.iteration for chain in chains)
        where = f"{first + 1}" if first == last else f"{first + 1}-{last + 1}"
        reached = sorted({chain.stage for chain in chains}, key=_stage_order)
        stages = reached[0] if len(reached) == 1 else f"{reached[0]} to {reached[-1]}"
        correlations = [chain.correlation for chain in chains if math.isfinite(chain.correlation)]
        parts = [f"{stages}, iteration {where} of {self._n_iterations}"]
        if correlations:
            low, high = f"{min(correlations):.4f}", f"{max(correlations):.4f}"
            parts.append(f"cc_centred {low}" if low == high else f"cc_centred {low} to {high}")
        acceptances = [chain.acceptance for chain in chains if math.isfinite(chain.acceptance)]
        if acceptances:
            parts.append(f"acceptance {sum(acceptances) / len(acceptances):.2f}")
        n_divergent = sum(chain.n_divergent for chain in chains)
        if n_divergent:
            parts.append(f"{n_divergent} divergent")
        parts.append(f"ended after {_duration(now - self._began)}" if ended else self._overall(now)[2])
        return "; ".join(parts)

    def _render(self) -> RenderableType:
        """Return the live display; the overall bar comes first, since a low terminal cuts off the end."""
        with self._lock:
            done, total, left = self._overall(self._clock())
            overall = Table.grid(padding=(0, 1))
            overall.add_row(ProgressBar(total=max(total, 1), completed=done, width=40), f"{done}/{total}", left)
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for name in ("chain", "stage", "iteration", "cc_centred", "acceptance", "divergent"):
                table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
            for number, chain in sorted(self._chains.items()):
                table.add_row(
                    str(number),
                    chain.stage or "waiting",
                    f"{chain.iteration + 1}/{self._n_iterations}",
                    _number(chain.correlation, 4),
                    _number(chain.acceptance, 2),
                    str(chain.n_divergent),
                )
            return Group(overall, table)


def _stage_order(stage: str) -> tuple[float, str]:
    """Return what stages are sorted by: the start, then the warm-up by its numbers, then all else."""
    number = stage.rpartition("-")[2]
    return (-1.0 if stage == "start" else float(number) if number.isdecimal() else math.inf), stage


@dataclass
class ChainProgress:
    """Where one chain is; changed by its records, under the lock of the reporter that owns it."""

    stage: str = ""
    iteration: int = -1  # of the last record
    first: int = 0  # of the first record
    correlation: float = math.nan
    n_divergent: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def add(self, row: Record) -> bool:
        """Take note of a record; return whether it begins a stage."""
        begins = row.stage != self.stage
        if not self.stage:
            self.first = row.iteration
        self.stage, self.iteration = row.stage, row.iteration
        self.correlation = row.values.get("cc_centred", math.nan)
        acceptance = row.values.get("acceptance", math.nan)
        if math.isfinite(acceptance):
            self.recent.append(acceptance)
        self.n_divergent += row.values.get("divergent", 0.0) > 0
        return begins

    @property
    def acceptance(self) -> float:
        """Mean acceptance of the recent iterations, NaN before the first."""
        return sum(self.recent) / len(self.recent) if self.recent else math.nan

    def summary(self) -> str:
        """Return the state in words, for the log."""
        return (
            f"cc_centred {_number(self.correlation, 4)}, acceptance {_number(self.acceptance, 2)} "
            f"over the last {_RECENT} iterations, {self.n_divergent} divergent so far"
        )


def _number(value: float, digits: int) -> str:
    """Return a number as text, a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _duration(seconds: float) -> str:
    """Return a duration in words, as precise as one wants to know it."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
