"""What a file holds, model or map, as the rest of the program reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.io.maps import describe_map, read_map
from bayesflex.io.structures import READERS, read_structure
from bayesflex.structure import Structure

#: Suffixes that say a map was meant; a file with another one may be a model under an unknown name.
_MAP_SUFFIXES = (".mrc", ".map", ".ccp4", ".mrc.gz", ".map.gz", ".ccp4.gz")


def describe(path: Path) -> list[tuple[str, str]]:
    """Return what there is to say about a model or a map, as rows of label and value.

    A file with the suffix of an atomic model is read as one, any other as a map.

    Raises
    ------
    InputError
        If the file is missing or is neither.
    """
    name = path.name.lower()
    if name.endswith(tuple(READERS)):
        return describe_structure(read_structure(path))
    try:
        return describe_map(read_map(path))
    except InputError as error:
        if name.endswith(_MAP_SUFFIXES) or not path.exists():
            raise
        raise InputError(f"{error} It was read as a map; models are named {', '.join(READERS)}.") from error


def describe_structure(structure: Structure) -> list[tuple[str, str]]:
    """Return what there is to say about a model, as rows of label and value."""
    rows = [
        ("model", structure.name),
        ("atoms", f"{structure.n_atoms}, of which {int(structure.is_hetero.sum())} hetero"),
        ("residues", _residues(structure)),
        ("chains", _chains(structure)),
    ]
    if structure.n_atoms:
        low, high = structure.coords.min(axis=0), structure.coords.max(axis=0)
        rows.append(("extent", ", ".join(f"{a:.1f} to {b:.1f}" for a, b in zip(low, high, strict=True)) + " Å"))
        rows.append(("centroid", ", ".join(f"{value:.1f}" for value in structure.coords.mean(axis=0)) + " Å"))
        rows.append(("B-factors", f"{structure.b_factor.min():.1f} to {structure.b_factor.max():.1f} Å²"))
    return rows + [("note", note) for note in structure.notes]


def _n_with(structure: Structure, mask: NDArray[np.bool_]) -> int:
    return len(np.unique(structure.residue_index[mask]))


def _residues(structure: Structure) -> str:
    n_nucleotides = _n_with(structure, structure.is_nucleotide_site)
    nucleotides = f" and {n_nucleotides} with a C4'" if n_nucleotides else ""
    return f"{structure.n_residues}, of which {_n_with(structure, structure.is_ca)} with a CA atom{nucleotides}"


def _chains(structure: Structure) -> str:
    """Return each chain's name with its number of residues, in the order of the file."""
    first_of_residue = np.unique(structure.residue_index, return_index=True)[1]
    names = structure.chain[first_of_residue]
    counts = {str(name): int((names == name).sum()) for name in dict.fromkeys(names.tolist())}
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
    return f"{len(counts)}: {listed}" if counts else "none"
