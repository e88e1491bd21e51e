"""MetricsTable: what was recorded in every iteration of every chain, and its file ``metrics.csv``.

It spans warm-up and sampling. The draws themselves are a ``trace.Trace``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.io.tables import write_csv
from bayesflex.protocols import Record

#: Columns that say which row it is; the others hold numbers.
KEY_COLUMNS = ("chain", "iteration", "stage")

#: Quantities of every fit. cc_*: correlation of map and model, 1; log_*: nats; energy: kcal/mol; divergent: 0 or 1.
COMMON_COLUMNS = (
    "cc_uncentred",
    "cc_centred",
    "log_density",
    "log_likelihood",
    "energy",
    "acceptance",
    "step_size",
    "divergent",
)

#: Where the answer is known: RMSD to it, Å.
REFERENCE_COLUMN = "rmsd_to_reference"

#: A column per mode, such as amplitude_7: A_m·(r - r₀), Å.
AMPLITUDE_PREFIX = "amplitude_"


@dataclass(frozen=True, eq=False)
class MetricsTable:
    """Rows sorted by chain, then iteration; the stage is "sampling" where draws were kept.

    Parameters
    ----------
    chain, iteration
        Shape (n_rows,); iterations are counted from 0 over warm-up and sampling.
    stage
        Shape (n_rows,).
    values
        Arrays of shape (n_rows,) by column name; NaN where nothing was recorded.
    """

    chain: NDArray[np.int64]
    iteration: NDArray[np.int64]
    stage: NDArray[np.str_]
    values: Mapping[str, NDArray[np.float64]]

    @property
    def chains(self) -> list[int]:
        """Numbers of the chains, rising."""
        return [int(chain) for chain in np.unique(self.chain)]

    @property
    def mode_numbers(self) -> list[int]:
        """Numbers of the modes whose amplitudes were recorded, rising."""
        return sorted(
            int(name.removeprefix(AMPLITUDE_PREFIX)) for name in self.values if name.startswith(AMPLITUDE_PREFIX)
        )

    def has(self, name: str) -> bool:
        """Tell whether a column is there and holds a number."""
        return name in self.values and bool(np.any(np.isfinite(self.values[name])))

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a column, shape (n_rows,).

        Raises
        ------
        InputError
            If there is none of that name.
        """
        if name not in self.values:
            raise InputError(f"metrics: no column {name!r}; there are {', '.join(self.values)}")
        return self.values[name]

    def of_chain(self, chain: int) -> MetricsTable:
        """Return the rows of one chain."""
        rows = self.chain == chain
        values = {name: column[rows] for name, column in self.values.items()}
        return MetricsTable(self.chain[rows], self.iteration[rows], self.stage[rows], values)


def metric_columns(mode_numbers: Iterable[int], with_reference: bool = False) -> tuple[str, ...]:
    """Return the columns of numbers that a fit records, in the order of the file."""
    reference = (REFERENCE_COLUMN,) if with_reference else ()
    return (*COMMON_COLUMNS, *reference, *(f"{AMPLITUDE_PREFIX}{number}" for number in mode_numbers))


def metrics_table(rows: Iterable[Record], columns: Sequence[str] | None = None) -> MetricsTable:
    """Return records as a table, sorted by chain and iteration.

    Parameters
    ----------
    rows
        Records in any order.
    columns
        The columns wanted; None: every name that occurs, in order of appearance.
    """
    ordered = sorted(rows, key=lambda row: (row.chain, row.iteration))
    names = columns if columns is not None else list(dict.fromkeys(name for row in ordered for name in row.values))
    return MetricsTable(
        chain=np.array([row.chain for row in ordered], dtype=np.int64),
        iteration=np.array([row.iteration for row in ordered], dtype=np.int64),
        stage=np.array([row.stage for row in ordered], dtype=np.str_),
        values={name: np.array([row.values.get(name, np.nan) for row in ordered], dtype=np.float64) for name in names},
    )


def metrics_cells(row: Record, columns: Sequence[str]) -> list[str]:
    """Return a record as the cells of a line of ``metrics.csv``; what was not recorded is left empty."""
    # Ten digits keep log densities of 1e6 nats to 1e-3 without the noise of the last bits.
    numbers = [format(row.values[name], ".10g") if name in row.values else "" for name in columns]
    return [str(row.chain), str(row.iteration), row.stage, *numbers]


def write_metrics(rows: Iterable[Record], columns: Sequence[str], path: Path) -> None:
    """Write records as ``metrics.csv``, sorted by chain and iteration.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    ordered = sorted(rows, key=lambda row: (row.chain, row.iteration))
    write_csv(path, [*KEY_COLUMNS, *columns], (metrics_cells(row, columns) for row in ordered))


def read_metrics(path: Path) -> MetricsTable:
    """Read a ``metrics.csv``, or the ``metrics.csv.part`` of a fit that is running.

    A last line that is still being written is left out.

    Raises
    ------
    InputError
        If the file is missing or is no such table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected the metrics.csv of a fit") from error
    whole_lines = text[: text.rfind("\n") + 1].splitlines()
    header, *lines = list(csv.reader(whole_lines)) or [[]]
    if tuple(header[: len(KEY_COLUMNS)]) != KEY_COLUMNS:
        raise InputError(
            f"{path}: the first line begins {','.join(header[:3])!r}, expected {','.join(KEY_COLUMNS)!r} as in the "
            "metrics.csv of a fit"
        )
    columns = header[len(KEY_COLUMNS) :]
    rows = []
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(header):
            raise InputError(f"{path}: line {number} has {len(cells)} cells, expected {len(header)}")
        try:
            numbers = {name: float(cell) for name, cell in zip(columns, cells[3:], strict=True) if cell}
            rows.append(Record(int(cells[0]), int(cells[1]), cells[2], numbers))
        except ValueError as error:
            raise InputError(f"{path}: line {number} holds something that is no number ({error})") from error
    return metrics_table(rows, columns)
