"""Numbers of a run as rows of text, for the tables of its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from bayesflex.report.run_data import RunData

#: What is shown where there is no number.
_NONE = "–"

#: Rows of the table before and after: key, label, digits, unit, and which is better; of the summary first.
_CHANGES = (
    ("cc_centred", "Correlation over the region that is fitted, centred", 4, "", "higher"),
    ("cc_uncentred", "The same, means kept (eq. 8 of the paper)", 4, "", "higher"),
    ("rmsd_to_reference", "CA RMSD to the reference", 2, "Å", "lower"),
    ("energy", "Structural energy (zero at the start)", 0, "kcal/mol", "lower"),
    ("log_density", "Log posterior density", 1, "nats", "higher"),
)

#: The same of the validation, with the path of keys to each.
_VALIDATION = (
    (("cc_mask",), "cc_mask: correlation inside the molecule", 4, "", "higher"),
    (("cc_box",), "cc_box: over the whole box", 4, "", "higher"),
    (("cc_volume",), "cc_volume: over the model's highest voxels", 4, "", "higher"),
    (("cc_peaks",), "cc_peaks: over these and the map's highest voxels", 4, "", "higher"),
    (("map_model_fsc", "resolution_0.5", "masked"), "Map–model FSC is 0.5 at, masked", 2, "Å", "lower"),
    (("map_model_fsc", "resolution_0.143", "masked"), "Map–model FSC is 0.143 at, masked", 2, "Å", "lower"),
    (("half_map_fsc", "resolution_0.143", "masked"), "Half-map FSC is 0.143 at, masked", 2, "Å", "lower"),
    (("q_score",), "Q-score, mean over the atoms", 3, "", "higher"),
    (("smoc",), "SMOC, mean over the residues", 4, "", "higher"),
    (("ca_distance_outliers",), "CA–CA distances that are outliers", 0, "", "lower"),
    (("ca_angle_outliers",), "CA virtual angles that are outliers", 0, "", "lower"),
    (("ca_clashes",), "Clashes of CA", 0, "", "lower"),
    (("ramachandran_favoured",), "Residues in favoured Ramachandran regions", 0, "", "higher"),
    (("ramachandran_outliers",), "Ramachandran outliers", 0, "", "lower"),
    (("atom_clashes",), "Clashes of atoms", 0, "", "lower"),
)

_INPUTS = {
    "model": "Model",
    "map": "Map",
    "reference": "Reference (known answer, nothing is fitted to it)",
    "mask": "Mask",
    "fixed": "Model that is not moved",
    "half1": "First half map",
    "half2": "Second half map",
}


#: Domains whose motion has a row.
_MOST_DOMAINS = 8


@dataclass(frozen=True)
class Change:
    """A number before and after the fit, as text."""

    label: str
    before: str
    after: str
    unit: str
    better: str  # "higher" or "lower"
    improved: bool | None  # None where nothing can be said


def changes(run: RunData) -> list[Change]:
    """Return the numbers before and after, of the summary and of the validation, as far as there are any."""
    summary = run.summary or {}
    rows = []
    for key, label, digits, unit, better in _CHANGES:
        values = summary.get(key)
        if isinstance(values, Mapping):
            row = _change(values.get("start"), values.get("fitted"), label, digits, unit, better)
            # Whatever moves has an energy above that of the start, which is zero.
            rows.append(replace(row, improved=None) if key == "energy" else row)
    for path, label, digits, unit, better in _VALIDATION:
        before, after = (_at(run.validation.get(name), path) for name in ("start", "fitted"))
        if before is not None or after is not None:
            rows.append(_change(before, after, label, digits, unit, better))
    return rows


def _change(before: object, after: object, label: str, digits: int, unit: str, better: str) -> Change:
    first, last = _number(before), _number(after)
    improved = None
    if first is not None and last is not None and first != last:
        improved = last > first if better == "higher" else last < first
    return Change(label, shown(first, digits), shown(last, digits), unit, better, improved)


def _at(values: Any, path: Sequence[str]) -> float | None:
    """Return a number inside mappings by its keys, or None where there is none."""
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    return _number(values)


def key_numbers(run: RunData) -> list[tuple[str, str, str]]:
    """Return the numbers at the top of the page: value, label and remark."""
    summary = run.summary or {}
    rows = []
    correlation = summary.get("cc_centred")
    if isinstance(correlation, Mapping):
        rows.append(
            (
                f"{shown(correlation.get('start'), 3)} → {shown(correlation.get('fitted'), 3)}",
                "correlation with the map",
                "centred, over the region that counts",
            )
        )
    if "rmsd_start_to_fitted" in summary:
        rows.append((f"{shown(summary['rmsd_start_to_fitted'], 2)} Å", "moved", "CA RMSD, start to fitted"))
    reference = summary.get("rmsd_to_reference")
    if isinstance(reference, Mapping):
        rows.append(
            (
                f"{shown(reference.get('start'), 2)} → {shown(reference.get('fitted'), 2)} Å",
                "from the reference",
                "CA RMSD in place",
            )
        )
    radius = summary.get("radius_90")
    if isinstance(radius, Mapping):
        rows.append(
            (
                f"{shown(radius.get('median'), 2)} Å",
                "holds 90 % of a residue's draws",
                f"median; at most {shown(radius.get('max'), 2)} Å",
            )
        )
    if "r_hat_max" in summary:
        rows.append(
            (
                shown(summary["r_hat_max"], 2),
                "R-hat at most",
                f"chains agree below 1.05; at least {shown(summary.get('ess_min'), 0)} independent draws",
            )
        )
    return rows


def facts(run: RunData) -> list[tuple[str, str]]:
    """Return what was fitted into what, as rows of label and text."""
    rows = []
    for name, label in _INPUTS.items():
        if name in run.inputs:
            rows.append((label, str(run.inputs[name])))
    summary, model, density = run.summary or {}, run.model, run.density
    if model is not None:
        rows.append(("Size of the model", model.size_in_words()))
    elif "n_atoms" in summary:
        rows.append(("Size of the model", f"{summary['n_atoms']} atoms, {summary.get('n_ca', _NONE)} CA"))
    if "grid" in summary:
        grid = " × ".join(str(n) for n in summary["grid"])
        voxel = " × ".join(f"{size:.4g}" for size in summary.get("voxel_size", ()))
        rows.append(("Grid of the map", f"{grid} voxels of {voxel} Å"))
    elif density is not None:
        rows.append(("Grid of the map", " × ".join(str(n) for n in density.shape_xyz) + " voxels"))
    settings = run.settings
    if "resolution" in settings:
        rows.append(("Resolution", f"{settings['resolution']:g} Å"))
    if "deformation" in settings:
        modes = settings.get("modes") or ()
        moved = {"local": "every CA by itself", "global": "normal modes", "combined": "every CA, and normal modes"}
        kind = str(settings["deformation"])
        listed = f" ({len(modes)} modes from {min(modes)} on)" if modes and kind != "local" else ""
        turned = ", and domains as rigid bodies" if settings.get("domain_motions") == "on" else ""
        rows.append(("What moved", moved.get(kind, kind) + listed + turned))
    if "likelihood" in settings:
        rows.append(("Noise model", str(settings["likelihood"])))
    if "chains" in settings:
        rows.append(
            (
                "Sampling",
                f"{settings['chains']} chains of {settings.get('iterations', _NONE)} draws after the warm-up, "
                f"seed {settings.get('seed', _NONE)}",
            )
        )
    rows += _domains(summary.get("domains"))
    seconds = summary.get("seconds")
    if isinstance(seconds, Mapping) and _number(seconds.get("total")) is not None:
        rows.append(("Time", f"{shown(seconds['total'], 0)} s"))
    return rows


def _domains(found: Any) -> list[tuple[str, str]]:
    """Return a row for each of the largest domains: how it turned and shifted, with 90 % intervals."""
    rows = []
    for each in found[:_MOST_DOMAINS] if isinstance(found, list) else ():
        turned, shifted = (
            f"{shown(each.get(name), digits)}{unit} ({shown(each.get(name + '_low'), digits)} to "
            f"{shown(each.get(name + '_high'), digits)})"
            for name, digits, unit in (("angle", 0, "°"), ("shift", 1, " Å"))
        )
        rows.append(
            (f"Domain {each.get('domain')}", f"{each.get('residues')}: turned by {turned}, shifted by {shifted}")
        )
    if rows and len(found) > len(rows):
        rows.append(("More domains", f"{len(found) - len(rows)}, see domain_motions.csv"))
    return rows


def diagnostics(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the numbers by which the chains are judged: label, value and what is good."""
    rows = [
        ("R-hat, at most", shown(summary.get("r_hat_max"), 3), "below 1.05, better 1.01"),
        ("Independent draws (bulk ESS), at least", shown(summary.get("ess_min"), 0), "20 or more, better 400"),
        ("Tail ESS, at least", shown(summary.get("ess_tail_min"), 0), "as above"),
        ("E-BFMI, at least", shown(summary.get("bfmi_min"), 2), "above 0.3"),
        ("Acceptance", shown(summary.get("acceptance"), 2), "near the target"),
        ("Divergent draws", shown(summary.get("n_divergent"), 0), "0"),
        ("χ² of the residual over what noise gives", shown(summary.get("chi_squared_ratio"), 2), "near 1"),
    ]
    return [row for row in rows if row[1] != _NONE]


def title(run: RunData) -> tuple[str, str]:
    """Return what was fitted, and into what, by the names of the files."""
    model = run.inputs.get("model") or (run.model.name if run.model is not None else "model")
    density = run.inputs.get("map") or (run.density.name if run.density is not None else "map")
    return _short(str(model)), _short(str(density))


def shown(value: Any, digits: int) -> str:
    """Return a number with so many digits after the point, or a dash where it is none."""
    number = _number(value)
    # Adding zero turns a rounded -0 into 0.
    return _NONE if number is None else f"{round(number, digits) + 0.0:.{digits}f}"


def _short(name: str) -> str:
    """Return the file's name of a path; other names as they are."""
    return PurePath(name).name or name


def _number(value: Any) -> float | None:
    """Return a number, or None where the value is none or not finite."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
