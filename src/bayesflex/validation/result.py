"""Validation: the numbers that judge a model in a map, as data and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bayesflex.html_tables import html_list, html_table
from bayesflex.validation.map_correlation import MapCorrelations
from bayesflex.validation.shells import ShellCurves, resolution_at

#: Correlations at which a resolution is read off: of a map with a model (Rosenthal and Henderson 2003, J. Mol. Biol.
#: 333, 721: 0.5 where one of the two has no noise), and of half maps (the same: 0.143).
FSC_LIMITS = (0.5, 0.143)


@dataclass(frozen=True)
class ResidueScores:
    """Scores of one residue; None where there is no such number. The fields are columns of ``validation_residues.csv``.

    Parameters
    ----------
    chain, number, insertion_code, name
        Of the residue, as in the model.
    cc_residue
        Correlation of map and model map near its atoms.
    smoc
        Of the window about it.
    q_score
        Mean over its atoms.
    ramachandran
        "favoured", "allowed" or "outlier".
    ca_distance_outlier, ca_angle_outlier, ca_clash
        1 where its CA has one, else 0; None without CA.
    """

    chain: str
    number: int
    insertion_code: str
    name: str
    cc_residue: float | None
    smoc: float | None
    q_score: float | None
    ramachandran: str | None
    ca_distance_outlier: int | None
    ca_angle_outlier: int | None
    ca_clash: int | None


@dataclass(frozen=True)
class ChainScores:
    """Scores of one chain. The fields are columns of ``validation_chains.csv``.

    Parameters
    ----------
    chain
        Name, as in the model.
    n_residues, n_atoms
        Its size.
    cc_chain
        Correlation of map and model map near its atoms.
    smoc
        Mean over its residues.
    q_score
        Mean over its atoms.
    ramachandran_favoured, ramachandran_outliers
        Residues; None without the tables.
    ca_distance_outliers, ca_angle_outliers, ca_clashes
        Residues whose CA has one.
    """

    chain: str
    n_residues: int
    n_atoms: int
    cc_chain: float | None
    smoc: float | None
    q_score: float | None
    ramachandran_favoured: int | None
    ramachandran_outliers: int | None
    ca_distance_outliers: int
    ca_angle_outliers: int
    ca_clashes: int


@dataclass(frozen=True)
class GeometryCounts:
    """Counts of what the geometry of a model has.

    Parameters
    ----------
    ca_distances, ca_distance_outliers, ca_angles, ca_angle_outliers, ca_clashes
        See :mod:`bayesflex.validation.ca_geometry`.
    ramachandran_residues, ramachandran_favoured, ramachandran_allowed, ramachandran_outliers
        See :func:`bayesflex.validation.backbone.ramachandran`; None of a CA trace, and without the tables.
    atom_clashes
        See :func:`bayesflex.validation.backbone.count_clashes`; None of a CA trace.
    """

    ca_distances: int
    ca_distance_outliers: int
    ca_angles: int
    ca_angle_outliers: int
    ca_clashes: int
    ramachandran_residues: int | None
    ramachandran_favoured: int | None
    ramachandran_allowed: int | None
    ramachandran_outliers: int | None
    atom_clashes: int | None


@dataclass(frozen=True, eq=False)
class Validation:
    """How well a model fits a map, and how sound its geometry is.

    Parameters
    ----------
    model, density
        What the two are called.
    resolution
        At which the model's map was made, Å.
    all_atoms
        Whether that map is made of all atoms; False for a CA trace.
    correlations
        cc_mask, cc_box, cc_volume and cc_peaks.
    map_model
        Fourier shell correlation of map and model map.
    half_maps
        Of the half maps, or None.
    q_score
        Mean over all atoms but hydrogen; None of a CA trace.
    smoc
        Mean over the residues.
    geometry
        Counts.
    chains, residues
        In the order of the model.
    notes
        Sentences on what was left out, and why.
    """

    model: str
    density: str
    resolution: float
    all_atoms: bool
    correlations: MapCorrelations
    map_model: ShellCurves
    half_maps: ShellCurves | None
    q_score: float | None
    smoc: float | None
    geometry: GeometryCounts
    chains: tuple[ChainScores, ...]
    residues: tuple[ResidueScores, ...]
    notes: tuple[str, ...]

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of ``validation.json``: see the page on validation."""
        found = self.correlations
        return {
            "model": self.model,
            "map": self.density,
            "resolution": self.resolution,
            "drawn": "all atoms" if self.all_atoms else "CA trace",
            "cc_mask": found.cc_mask,
            "cc_box": found.cc_box,
            "cc_volume": found.cc_volume,
            "cc_peaks": found.cc_peaks,
            "map_model_fsc": _resolutions(self.map_model),
            "half_map_fsc": None if self.half_maps is None else _resolutions(self.half_maps),
            "q_score": self.q_score,
            "smoc": self.smoc,
            **vars(self.geometry),
            "notes": list(self.notes),
        }

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return labels and values, as text, for tables."""
        return tuple((label, value) for label, value in validation_rows(self.numbers()))

    def _repr_html_(self) -> str:
        return html_table(self.rows(), caption=f"{self.model} in {self.density}") + html_list(self.notes)


def validation_rows(numbers: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return labels and values, as text, of the numbers of a validation: of one at hand, or read from its file."""
    map_model, half = numbers["map_model_fsc"], numbers["half_map_fsc"]
    rows = [(name, _decimal(numbers[name], 3)) for name in ("cc_mask", "cc_box", "cc_volume", "cc_peaks")]
    rows += [
        (f"map–model FSC = {limit}, {where}", _resolution(map_model[f"resolution_{limit}"][where]))
        for limit in FSC_LIMITS
        for where in ("masked", "unmasked")
    ]
    if half is not None:
        rows += [
            (f"half-map FSC = 0.143, {where}", _resolution(half["resolution_0.143"][where]))
            for where in ("masked", "unmasked")
        ]
    rows += [("Q-score", _decimal(numbers["q_score"], 3)), ("SMOC", _decimal(numbers["smoc"], 3))]
    rows += [
        ("CA–CA distance outliers", _share(numbers["ca_distance_outliers"], numbers["ca_distances"])),
        ("CA virtual angle outliers", _share(numbers["ca_angle_outliers"], numbers["ca_angles"])),
        ("CA clashes", str(numbers["ca_clashes"])),
    ]
    if numbers["ramachandran_residues"] is not None:
        residues = numbers["ramachandran_residues"]
        rows += [
            ("Ramachandran favoured", _share(numbers["ramachandran_favoured"], residues)),
            ("Ramachandran outliers", _share(numbers["ramachandran_outliers"], residues)),
        ]
    if numbers["atom_clashes"] is not None:
        rows.append(("atom clashes, without hydrogen", str(numbers["atom_clashes"])))
    return tuple(rows)


def compared_rows(named: Mapping[str, Mapping[str, Any]]) -> list[Sequence[str]]:
    """Return a table with a column for each of several validations by its heading, the headings first."""
    columns = {heading: dict(validation_rows(numbers)) for heading, numbers in named.items()}
    labels = dict.fromkeys(label for column in columns.values() for label in column)
    table: list[Sequence[str]] = [("", *columns)]
    table += [(label, *(column.get(label, "–") for column in columns.values())) for label in labels]
    return table


def _resolutions(curves: ShellCurves) -> dict[str, dict[str, float | None]]:
    return {
        f"resolution_{limit}": {
            "masked": resolution_at(curves.frequency, curves.masked, limit),
            "unmasked": resolution_at(curves.frequency, curves.unmasked, limit),
        }
        for limit in FSC_LIMITS
    }


def _decimal(value: float | None, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _resolution(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.2f} Å"


def _share(count: int, total: int) -> str:
    return f"{count} of {total} ({100.0 * count / total:.1f} %)" if total else "–"
