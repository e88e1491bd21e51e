"""Files of the uncertainty of each residue, and of the χ² of each shell.

Every residue of the model has a row, and all atoms of a residue share it. Residues without a site (CA or
C4'), which the fit carries along, have the spread of the sites that carry them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from bayesflex.io.atomic import atomic_path
from bayesflex.io.structures import Category
from bayesflex.io.tables import write_csv
from bayesflex.posterior_predictive import ShellCheck
from bayesflex.structure import Structure
from bayesflex.uncertainty import ResidueUncertainty
from bayesflex.units import b_factor_of_variance

#: Name of the table in mmCIF files, with a prefix of its own.
CATEGORY = "bayesflex_uncertainty"

#: Attributes that ChimeraX is given, by column.
ATTRIBUTES = ("sd", "radius_90", "contraction", "support", "prior_only")


@dataclass(frozen=True)
class ResidueRow:
    """Uncertainty of one residue; None where there is no such number.

    The fields are the columns of ``uncertainty.csv``: see the page on outputs.
    """

    chain: str
    number: int
    insertion_code: str
    name: str
    basis: str
    sd: float
    radius_90: float
    b_factor: float
    local_sd: float | None = None
    prior_local_sd: float | None = None
    contraction: float | None = None
    support: float | None = None
    prior_only: int | None = None
    r_hat: float | None = None
    ess: float | None = None


def residue_rows(
    structure: Structure, uncertainty: ResidueUncertainty, other_weights: csr_array
) -> tuple[ResidueRow, ...]:
    """Return a row for each residue of a model, in its order.

    Parameters
    ----------
    structure
        The model.
    uncertainty
        Of its trace.
    other_weights
        Weights of the sites that carry each residue without one, shape (n_other, n_ca), see ``carrying.Carrier``.
    """
    first = np.flatnonzero(np.diff(structure.residue_index, prepend=-1))
    of_trace = np.full(structure.n_residues, -1)
    of_trace[structure.residue_index[structure.site_indices]] = np.arange(len(uncertainty.sd))
    carried_sd = np.sqrt(other_weights @ uncertainty.sd**2)
    carried_radius = np.sqrt(other_weights @ uncertainty.radius**2)
    contraction, only = uncertainty.contraction, uncertainty.prior_only
    rows, n_carried = [], 0
    for index, atom in zip(of_trace.tolist(), first.tolist(), strict=True):
        names = (
            str(structure.chain[atom]),
            int(structure.residue_number[atom]),
            str(structure.insertion_code[atom]),
            str(structure.residue_name[atom]),
        )
        if index < 0:
            sd, radius = float(carried_sd[n_carried]), float(carried_radius[n_carried])
            rows.append(ResidueRow(*names, "carried", sd, radius, b_factor_of_variance(sd**2)))
            n_carried += 1
            continue
        sd = float(uncertainty.sd[index])
        rows.append(
            ResidueRow(
                *names,
                "sampled",
                sd,
                float(uncertainty.radius[index]),
                b_factor_of_variance(sd**2),
                _number(uncertainty.local_sd[index]),
                _number(uncertainty.prior_local_sd[index]),
                _number(contraction[index]),
                _number(uncertainty.support[index]),
                int(only[index]),
                _number(uncertainty.r_hat[index]),
                _number(uncertainty.ess[index]),
            )
        )
    return tuple(rows)


def with_b_factors(structure: Structure, rows: Sequence[ResidueRow]) -> Structure:
    """Return a model whose B-factors are 8π²/3 ⟨u²⟩ of each residue, Å²."""
    values = np.array([row.b_factor for row in rows])
    return replace(structure, b_factor=values[structure.residue_index])


def mmcif_category(rows: Sequence[ResidueRow]) -> Category:
    """Return the rows as a table for an mmCIF file, named as other tables name residues."""
    names = {
        "chain": "auth_asym_id",
        "number": "auth_seq_id",
        "insertion_code": "pdbx_PDB_ins_code",
        "name": "auth_comp_id",
    }
    columns: dict[str, list[Any]] = {}
    for item in fields(ResidueRow):
        if item.name != "b_factor":
            columns[names.get(item.name, item.name)] = [getattr(row, item.name) for row in rows]
    columns["pdbx_PDB_ins_code"] = [code or None for code in columns["pdbx_PDB_ins_code"]]
    return Category(CATEGORY, columns)


def write_uncertainty(rows: Iterable[ResidueRow], path: Path) -> None:
    """Write ``uncertainty.csv``, a row per residue.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    names = [item.name for item in fields(ResidueRow)]
    write_csv(path, names, ([getattr(row, name) for name in names] for row in rows))


def write_attributes(rows: Sequence[ResidueRow], path: Path) -> None:
    """Write an attribute file for ChimeraX: residues get ``bayesflex_sd`` and others.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    lines = ["# Uncertainty of a fit by bayesflex. In ChimeraX, with fitted.cif open as model 1:"]
    lines += [
        "#   open uncertainty.defattr models #1",
        "#   color byattribute r:bayesflex_sd palette cyan:white:maroon",
    ]
    for name in ATTRIBUTES:
        lines += [f"attribute: bayesflex_{name}", "match mode: any", "recipient: residues"]
        for row in rows:
            value = getattr(row, name)
            if value is not None:
                lines.append(f"\t/{row.chain}:{row.number}{row.insertion_code}\t{_cell(value)}")
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_shells(shells: ShellCheck, path: Path) -> None:
    """Write ``shells.csv``, a row per shell of spatial frequency.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    columns = {
        "frequency_low": shells.low,
        "frequency_high": shells.high,
        "chi_squared": shells.observed,
        "expected": shells.observations,
        "lower_95": shells.lower,
        "upper_95": shells.upper,
        "excess": shells.excess.astype(np.int64),
    }
    write_csv(path, list(columns), zip(*(column.tolist() for column in columns.values()), strict=True))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return format(value, ".5g") if isinstance(value, float) else str(value)
