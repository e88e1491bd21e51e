"""Trajectories: what mdtraj reads back."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.io.trajectories import write_trajectory
from bayesflex.structure import Structure


def peptide(chain: str = "A") -> Structure:
    return Structure(
        coords=np.zeros((4, 3)),
        element=np.array(["N", "C", "C", "ZN"]),
        atom_name=np.array(["N", "CA", "CA", "ZN"]),
        residue_name=np.array(["ALA", "ALA", "GLY", "ZN"]),
        residue_number=np.array([1, 1, 2, 300]),
        insertion_code=np.full(4, ""),
        chain=np.full(4, chain),
        occupancy=np.ones(4),
        b_factor=np.zeros(4),
        is_hetero=np.array([False, False, False, True]),
    )


@pytest.mark.parametrize(("chain", "suffix"), [("A", ".pdb"), ("PROA", ".cif")])
def test_round_trip(tmp_path: Path, rng: np.random.Generator, chain: str, suffix: str) -> None:
    coords = 50.0 * rng.normal(size=(5, 4, 3))
    topology = write_trajectory(coords, peptide(chain), tmp_path / "run.dcd")
    assert topology == tmp_path / f"run{suffix}"
    read = mdtraj.load(str(tmp_path / "run.dcd"), top=str(topology))
    np.testing.assert_allclose(10.0 * read.xyz, coords, atol=1e-4)  # mdtraj holds nm in single precision
    assert [atom.name for atom in read.topology.atoms] == ["N", "CA", "CA", "ZN"]
    assert [residue.name for residue in read.topology.residues] == ["ALA", "GLY", "ZN"]
    first = mdtraj.load(str(topology))
    np.testing.assert_allclose(10.0 * first.xyz[0], coords[0], atol=1e-3)
    assert {p.name for p in tmp_path.iterdir()} == {"run.dcd", f"run{suffix}"}


@pytest.mark.parametrize(
    ("coords", "name", "message"),
    [
        (np.zeros((2, 4, 3)), "run.xyz", "ends in .dcd"),
        (np.zeros((2, 3, 3)), "run.dcd", r"shape \(n_frames, 4, 3\), got \(2, 3, 3\)"),
        (np.zeros((0, 4, 3)), "run.dcd", r"got \(0, 4, 3\)"),
        (np.full((2, 4, 3), np.nan), "run.dcd", "not a finite number"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, coords: np.ndarray, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_trajectory(coords, peptide(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent/run\.dcd: cannot be written"):
        write_trajectory(np.zeros((1, 4, 3)), peptide(), tmp_path / "absent" / "run.dcd")
