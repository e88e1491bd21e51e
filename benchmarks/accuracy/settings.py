"""What the settings of the prior and of the beads do to accuracy: ``python -m benchmarks.accuracy.settings``.

Each setting is changed alone, all others at their defaults, and every case is fitted once. Rows are kept in a CSV, a
setting measured again replaces its rows; the page docs/accuracy.md takes its second table from there.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from bayesflex.config import FitConfig
from bayesflex.validation.ca_geometry import ca_geometry
from bayesflex.workflows.fit import FitResult, fit
from benchmarks.accuracy.cases import CASES, Case
from benchmarks.accuracy.measure import cc_of_truth
from benchmarks.accuracy.page import write_between
from benchmarks.accuracy.rows import Texts, read_rows, write_rows
from benchmarks.tables import table

RESULTS = Path(__file__).parents[1] / "results" / "settings.csv"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"

#: The row of a fit with nothing changed.
DEFAULT = ("default", "")


@dataclass(frozen=True)
class Variation:
    """A setting and the values that it is given in turn."""

    setting: str
    values: tuple[float | str, ...]


VARIATIONS = (
    Variation("contact_energy", (0.0, 0.1, 1.0, 2.0)),
    Variation("contact_cutoff", (7.0, 14.0)),
    Variation("bond_constant", (10.0, 160.0)),
    Variation("angle_constant", (2.5, 40.0)),
    Variation("dihedral_constant", (0.0, 4.0)),
    Variation("helix_stiffness", (1.0, 16.0)),
    Variation("excluded_volume", (0.0, 4.0)),
    Variation("bead", ("ca", "centroid")),
)

#: Cases of seconds each: computed, given and real maps, and nucleic acid.
NAMES = (
    "adk-open-5",
    "mglur1-open-6",
    "groel-open-10",
    "mitoribosome",
    "protein_dna-5",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.settings", description=__doc__)
    parser.add_argument("--setting", action="append", help="only these settings; by default all and the default")
    parser.add_argument("--missing", action="store_true", help="measure only what has no row yet")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the CSV to keep")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    parser.add_argument("--again", action="store_true", help="write the page from the CSV, unmeasured")
    arguments = parser.parse_args()
    known = [DEFAULT[0], *(variation.setting for variation in VARIATIONS)]
    wanted = arguments.setting or known
    if unknown := set(wanted) - set(known):
        parser.error(f"no such setting: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if not arguments.again:
        named = os.environ.get("BAYESFLEX_DATA", "")
        if not named or not Path(named).is_dir():
            sys.exit(f"BAYESFLEX_DATA: expected the folder of the reference data, got {named!r}")
        for setting, value in _changes(wanted):
            for case in _cases():
                have = {_key(row) for row in read_rows(arguments.results)}
                if arguments.missing and (setting, str(value), case.name) in have:
                    continue
                row = measure_setting(case, Path(named), setting, value)
                write_rows(arguments.results, with_row(read_rows(arguments.results), row))
                print(" ".join(row.values()), flush=True)
    if arguments.page is not None:
        write_between(arguments.page, (BEGIN, END), table_lines(read_rows(arguments.results)))


def _changes(wanted: list[str]) -> list[tuple[str, float | str]]:
    """Return setting and value of every fit, the default first."""
    changes: list[tuple[str, float | str]] = [DEFAULT] if DEFAULT[0] in wanted else []
    return changes + [
        (variation.setting, value)
        for variation in VARIATIONS
        if variation.setting in wanted
        for value in variation.values
    ]


def _cases() -> list[Case]:
    return [case for case in CASES if case.name in NAMES]


def changed(config: FitConfig, setting: str, value: float | str) -> FitConfig:
    """Return a configuration with one setting changed; as it is for ``DEFAULT``."""
    return config if (setting, value) == DEFAULT else replace(config, **{setting: value})  # type: ignore[arg-type]


def measure_setting(case: Case, data: Path, setting: str, value: float | str, seed: int = 1) -> Texts:
    """Fit a case with one setting changed; return the row."""
    inputs = case.make(data, seed)
    config = changed(FitConfig(resolution=case.resolution, seed=seed), setting, value)
    processor = time.process_time()
    result = fit(inputs.start, inputs.density, config, reference=inputs.answer)
    processor = time.process_time() - processor
    return {
        "setting": setting,
        "value": str(value),
        "case": case.name,
        "seed": str(seed),
        "rmsd_fitted": f"{result.summary['rmsd_to_reference']['fitted']:.4f}",
        "cc_centred_fitted": f"{result.summary['cc_centred']['fitted']:.4f}",
        "cc_centred_truth": f"{cc_of_truth(inputs, config, result):.4f}",
        "outliers": str(outliers(result)),
        "processor_seconds": f"{processor:.1f}",
    }


def outliers(result: FitResult) -> int:
    """Return how many more CA distances, virtual angles and clashes are outliers in the fitted model than at first."""
    counts = [
        int(geometry.bond_outlier.sum() + geometry.angle_outlier.sum()) + geometry.n_clashes
        for geometry in (ca_geometry(model.ca_trace()) for model in (result.start, result.fitted))
    ]
    return counts[1] - counts[0]


def _key(row: Texts) -> tuple[str, str, str]:
    return row["setting"], row["value"], row["case"]


def with_row(rows: list[Texts], row: Texts) -> list[Texts]:
    """Return rows with one put in, in place of that of the same setting, value and case."""
    order = {(setting, str(value)): n for n, (setting, value) in enumerate(_changes([DEFAULT[0], *_settings()]))}
    kept = [old for old in rows if _key(old) != _key(row)]
    return sorted(
        [*kept, row],
        key=lambda one: (order.get((one["setting"], one["value"]), len(order)), NAMES.index(one["case"])),
    )


def _settings() -> list[str]:
    return [variation.setting for variation in VARIATIONS]


def table_lines(rows: list[Texts]) -> list[str]:
    """Return the table: a line for each setting's value, its RMSDs, and their geometric mean over the default's."""
    defaults = {field.name: field.default for field in fields(FitConfig)}
    found = {_key(row): row for row in rows}
    lines = []
    for setting, value in _changes([DEFAULT[0], *_settings()]):
        of_value = {case: found.get((setting, str(value), case)) for case in NAMES}
        if not any(of_value.values()):
            continue
        ratios = [
            float(row["rmsd_fitted"]) / float(found[(*DEFAULT, case)]["rmsd_fitted"])
            for case, row in of_value.items()
            if row is not None and (*DEFAULT, case) in found
        ]
        words = "**defaults**" if setting == DEFAULT[0] else f"`{setting}` {value} (default {defaults[setting]})"
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan
        lines.append(
            [
                words,
                *("–" if row is None else f"{float(row['rmsd_fitted']):.2f}" for row in of_value.values()),
                f"{mean:.2f}",
                str(sum(int(row["outliers"]) for row in of_value.values() if row is not None)),
            ]
        )
    return table(["setting", *NAMES, "× default", "outliers"], lines)


if __name__ == "__main__":
    main()
