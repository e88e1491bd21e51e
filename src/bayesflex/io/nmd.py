"""Writing normal modes as NMD, the text format that ProDy and VMD's NMWiz read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path
from bayesflex.normal_modes import NormalModes
from bayesflex.structure import Structure


def write_nmd(path: Path, ca: Structure, modes: NormalModes) -> None:
    """Write modes with the atoms they belong to.

    Each mode has its number, counted from 7, and the scale 1/√λ, which viewers multiply the unit vector by.
    Values are separated by spaces in this format: blanks inside a name become "_", and an empty chain name too.

    Parameters
    ----------
    path
        File to write.
    ca
        The beads, in the order of the modes.
    modes
        Of ``ca``.

    Raises
    ------
    InputError
        If the numbers of beads differ, or the file cannot be written.
    """
    if ca.n_atoms != modes.n_beads:
        raise InputError(f"{path}: modes of {modes.n_beads} beads do not belong to the {ca.n_atoms} atoms of {ca.name}")
    lines = [
        f"name {_word(ca.name)}",
        _row("atomnames", map(_word, ca.atom_name)),
        _row("resnames", map(_word, ca.residue_name)),
        _row("chainids", map(_word, ca.chain)),
        _row("resids", map(str, ca.residue_number)),
        _row("bfactors", (f"{value:.2f}" for value in ca.b_factor)),
        _row("coordinates", (f"{value:.3f}" for value in ca.coords.ravel())),
    ]
    for number, eigenvalue, vector in zip(modes.numbers, modes.eigenvalues, modes.vectors, strict=True):
        values = (f"{value:.7f}" for value in vector.ravel())
        lines.append(_row(f"mode {number} {eigenvalue**-0.5:.6g}", values))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _word(text: str) -> str:
    """Return the text as one word."""
    return "_".join(str(text).split()) or "_"


def _row(label: str, values: Iterable[str]) -> str:
    return " ".join((label, *values))
