"""Geometry of models: CA traces made wrong on purpose, backbone torsions against gemmi's, atoms put too close."""

from __future__ import annotations

import sys
from dataclasses import replace

import gemmi
import numpy as np
import pytest

from bayesflex.io.structures import read_structure, write_structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.validation import backbone, ramachandran_tables
from bayesflex.validation.backbone import backbone_angles, count_clashes, ramachandran
from bayesflex.validation.ca_geometry import ca_geometry
from bayesflex.validation.ramachandran_tables import ramachandran_scores


@pytest.fixture(scope="module")
def protein():
    return two_domain_protein(60)


def zigzag(n: int, step: float = 3.8, degrees: float = 110.0):
    """A flat trace of a distance and a virtual angle."""
    half = np.radians(degrees) / 2.0
    return np.array([[k * step * np.sin(half), (k % 2) * step * np.cos(half), 0.0] for k in range(n)])


def trace_of(protein, coords):
    return protein.ca_trace().select(np.arange(len(coords))).with_coords(coords)


def test_a_good_trace_has_no_outlier(protein):
    found = ca_geometry(trace_of(protein, zigzag(12)))
    assert (found.n_bonds, found.n_angles) == (11, 10)
    assert not found.bond_outlier.any()
    assert not found.angle_outlier.any()
    assert found.n_clashes == 0


@pytest.mark.parametrize(("step", "outliers"), [(3.8, 0), (3.65, 0), (3.5, 11), (2.9, 0), (3.2, 11), (4.1, 11)])
def test_distances(protein, step, outliers):
    assert ca_geometry(trace_of(protein, zigzag(12, step=step))).bond_outlier.sum() == outliers


@pytest.mark.parametrize(("degrees", "outliers"), [(90.0, 0), (150.0, 0), (70.0, 10), (170.0, 10)])
def test_angles(protein, degrees, outliers):
    assert ca_geometry(trace_of(protein, zigzag(12, degrees=degrees))).angle_outlier.sum() == outliers


def test_a_gap_is_no_outlier(protein):
    coords = zigzag(12)
    coords[6:] += [20.0, 0.0, 0.0]
    found = ca_geometry(trace_of(protein, coords))
    assert (found.n_bonds, found.n_angles) == (10, 8)
    assert not found.bond_outlier.any()


def test_clashes_are_pairs_that_are_not_neighbours(protein):
    coords = zigzag(12)
    coords[11] = coords[0] + [0.0, 0.0, 3.0]
    found = ca_geometry(trace_of(protein, coords))
    assert found.n_clashes == 1
    assert np.flatnonzero(found.clash).tolist() == [0, 11]
    assert ca_geometry(trace_of(protein, zigzag(1))).n_bonds == 0


def test_a_heap_of_ca_is_counted_within_bounds(protein):
    found = ca_geometry(trace_of(protein, np.zeros((50, 3))))
    assert found.clash.all()


def test_torsions_as_gemmi_has_them(protein, tmp_path):
    write_structure(protein, tmp_path / "model.cif")
    model = gemmi.read_structure(str(tmp_path / "model.cif"))[0]
    angles = backbone_angles(read_structure(tmp_path / "model.cif"))
    index = 0
    for chain in model:
        residues = list(chain)
        for k, residue in enumerate(residues):
            before = residues[k - 1] if k else None
            after = residues[k + 1] if k + 1 < len(residues) else None
            phi, psi = np.degrees(gemmi.calculate_phi_psi(before, residue, after))
            np.testing.assert_allclose([angles.phi[index], angles.psi[index]], [phi, psi], atol=1e-3)
            if before is not None:
                omega = np.degrees(gemmi.calculate_omega(before, residue))
                assert abs((angles.omega[index] - omega + 180.0) % 360.0 - 180.0) < 1e-3
            index += 1
    assert index == protein.n_residues


def test_residues_that_are_not_joined_have_no_torsions(protein):
    coords = protein.coords.copy()
    coords[protein.residue_index >= 30] += [30.0, 0.0, 0.0]
    angles = backbone_angles(protein.with_coords(coords))
    assert np.isnan([angles.psi[29], angles.phi[30], angles.omega[30]]).all()
    assert np.isfinite([angles.phi[29], angles.psi[30]]).all()


def test_the_table_of_a_residue():
    table = backbone._table
    assert table("GLY", 180.0, True) == "glycine"
    assert table("PRO", 5.0, False) == "cis-proline"
    assert table("PRO", -175.0, True) == "trans-proline"
    assert table("ILE", 180.0, True) == "pre-proline"
    assert table("VAL", 180.0, False) == "isoleucine or valine"
    assert table("ALA", 180.0, False) == "general"


def test_regions_by_the_limits_of_each_table(protein, monkeypatch):
    values = {"general": 0.0006, "glycine": 0.0006}
    monkeypatch.setattr(
        backbone, "ramachandran_scores", lambda tables, phi, psi: np.array([values.get(t, 0.5) for t in tables])
    )
    names = np.where(protein.residue_index % 2 == 0, "ALA", "GLY")
    found = ramachandran(replace(protein, residue_name=names))
    assert found.n_residues == protein.n_residues - 2
    assert set(found.region[1:-1:2]) == {"outlier"}
    assert set(found.region[2:-1:2]) == {"allowed"}
    assert found.region[0] == ""


def test_without_the_tables_there_are_no_regions(protein, monkeypatch):
    monkeypatch.setattr(ramachandran_tables, "find_spec", lambda name: None)
    assert ramachandran(protein) is None


def test_tables_that_do_not_run_are_as_none(monkeypatch):
    monkeypatch.setattr(ramachandran_tables, "find_spec", lambda name: object())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert ramachandran_scores(["general"], np.zeros(1), np.zeros(1)) is None


def test_scores_of_the_tables(cctbx):
    scores = ramachandran_scores(
        ["general", "general", "glycine"], np.array([-63.0, 100.0, 100.0]), np.array([-43.0, 150.0, 150.0])
    )
    assert scores[0] > 0.9  # the middle of the helix
    assert scores[1] < 0.0005  # where nothing but glycine is
    assert scores[2] > scores[1]


def test_atoms_that_overlap(protein):
    apart = protein.select(np.flatnonzero(protein.atom_name == "CA")[[0, 10]])
    radius = gemmi.Element("C").vdw_r
    for distance, clashes in [(2.0 * radius - 0.41, 1), (2.0 * radius - 0.39, 0)]:
        pair = apart.with_coords(np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]))
        assert count_clashes(pair) == clashes


@pytest.mark.parametrize(("elements", "clashes"), [("CC", 1), ("NO", 0), ("SS", 0), ("CN", 1), ("HC", 0)])
def test_which_pairs_may_be_near(protein, elements, clashes):
    pair = protein.select(np.flatnonzero(protein.atom_name == "CA")[[0, 10]])
    pair = replace(pair, coords=np.array([[0.0, 0.0, 0.0], [2.5, 0.0, 0.0]]), element=np.array(list(elements)))
    assert count_clashes(pair) == clashes


def test_neighbours_in_a_chain_do_not_clash(protein):
    pair = protein.select(np.flatnonzero(protein.atom_name == "CA")[[4, 5]])
    pair = pair.with_coords(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    assert count_clashes(pair) == 0
    assert count_clashes(replace(pair, chain=np.array(["A", "B"]))) == 1
