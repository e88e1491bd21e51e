"""Validation against cctbx: numbers that cctbx-base 2025.11 gave, and live where it is installed.

cctbx ran in a process of its own on the map, the model map and the atoms that bayesflex had. GroEL's subunit lies well
within its box, so that cctbx' periodic images do not matter.
"""

from __future__ import annotations

import json
import subprocess
import sys

import gemmi
import numpy as np
import pytest

from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure, write_structure
from bayesflex.validation import validate
from bayesflex.validation.backbone import OVERLAP, count_clashes, ramachandran
from bayesflex.validation.map_correlation import map_correlations
from bayesflex.validation.model_map import model_map, molecular_region

#: mmtbx.maps.correlation.five_cc: voxels inside the molecule, cc_mask, cc_box, cc_volume, cc_peaks.
GROEL = (10727, 0.9947766925967548, 0.9987791002544224, 0.9934896562543932, 0.9936312501605753)

#: mmtbx.validation.ramalyze: residues, favoured, allowed, outliers.
RAMALYZE = {
    "mitoribosome/3j6b_chain9.pdb": (185, 163, 14, 8),
    "adk/1ake.pdb": (424, 411, 12, 1),
    "groel/1oel.pdb": (522, 497, 23, 2),
    "p97/5ftn.pdb.gz": (4398, 4031, 325, 42),
}

#: cctbx.maptbx.qscore.calc_qscore, mean over atoms. It takes 8 points on each sphere and drops those near other atoms,
#: where MapQ and bayesflex try more: single atoms differ, the mean hardly.
MITORIBOSOME_Q = 0.5616

#: Pairs of atoms that overlap, by :func:`contacts_of_gemmi`.
CLASHES = {
    "adk/1ake.pdb": 1,
    "adk/4ake_A.pdb": 2,
    "groel/1oel.pdb": 3,
    "mitoribosome/3j6b_chain9.pdb": 1,
    "p97/5ftn.pdb.gz": 66,
}

_RAMALYZE = """
import json, sys
from iotbx.pdb import input as read
from mmtbx.validation.ramalyze import ramalyze
found = ramalyze(read(file_name=sys.argv[1]).construct_hierarchy(), outliers_only=False)
json.dump([found.n_total, found.n_favored, found.n_allowed, found.n_outliers], sys.stdout)
"""

_FIVE_CC = """
import json, sys
import numpy as np
from cctbx import crystal, xray
from cctbx.array_family import flex
from mmtbx.maps.correlation import five_cc
case = np.load(sys.argv[1])
cell = tuple(float(edge) for edge in case["box"]) + (90, 90, 90)
symmetry = crystal.symmetry(unit_cell=cell, space_group_symbol="P1")
atoms = xray.structure(crystal_symmetry=symmetry)
sites = flex.vec3_double((case["coords"] - case["origin"]).tolist())
for element, site in zip(case["element"], symmetry.unit_cell().fractionalize(sites)):
    atoms.add_scatterer(xray.scatterer(label=str(element), site=site, u=0.1, scattering_type=str(element).capitalize()))
def flat(values):
    return flex.double(np.ascontiguousarray(values.transpose(2, 1, 0).astype(float)))
value, model = flat(case["values"]), flat(case["model"])
found = five_cc(map=value, xray_structure=atoms, d_min=10.0, map_calc=model, compute_cc_box=True)
cc = found.result
json.dump([found.n_nodes_inside, cc.cc_mask, cc.cc_box, cc.cc_volume, cc.cc_peaks], sys.stdout)
"""


@pytest.fixture(scope="module")
def groel(data_dir):
    structure, density = (
        read_structure(data_dir / "groel" / "1sx4A.pdb"),
        read_map(data_dir / "groel" / "1sx4A.ccp4"),
    )
    model = model_map(structure, density, 10.0)
    return structure, density, model, molecular_region(model, density, 10.0)


def test_correlations_are_those_of_phenix(groel):
    _, density, model, inside = groel
    found = map_correlations(density.values, model.values, inside)
    assert int(inside.sum()) == GROEL[0]
    np.testing.assert_allclose(
        [found.cc_mask, found.cc_box, found.cc_volume, found.cc_peaks], GROEL[1:], rtol=0, atol=1e-9
    )


def test_the_numbers_kept_here_are_those_of_cctbx(groel, cctbx, tmp_path):
    structure, density, model, _ = groel
    np.savez(
        tmp_path / "case.npz",
        values=density.values,
        model=model.values,
        coords=structure.coords,
        element=structure.element,
        origin=density.origin,
        box=density.box_size,
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-c", _FIVE_CC, str(tmp_path / "case.npz")], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(json.loads(ended.stdout), GROEL, rtol=1e-12)


@pytest.mark.parametrize("name", RAMALYZE)
def test_ramachandran_regions_are_those_of_ramalyze(data_dir, cctbx, name):
    found = ramachandran(read_structure(data_dir / name))
    counts = (found.n_residues, *(found.count(region) for region in ("favoured", "allowed", "outlier")))
    assert counts == RAMALYZE[name]


@pytest.mark.parametrize(("histidine", "expected"), [("HSD", (203, 196, 5, 2)), ("HIS", (212, 203, 6, 3))])
def test_ramalyze_passes_over_residues_of_other_names(data_dir, cctbx, tmp_path, histidine, expected):
    """Here 4AKE has its histidines as CHARMM calls them.

    ramalyze knows no HSD, and judges neither it nor its neighbours: nine residues fewer. With HIS in its place its
    counts are those of bayesflex, which takes every residue with a backbone.
    """
    text = (data_dir / "adk" / "4ake_A.pdb").read_text(encoding="ascii")
    path = tmp_path / "4ake.pdb"
    path.write_text(text.replace("HSD", histidine), encoding="ascii")
    ended = subprocess.run(
        [sys.executable, "-I", "-c", _RAMALYZE, str(path)], capture_output=True, text=True, check=True
    )
    assert tuple(json.loads(ended.stdout)) == expected
    found = ramachandran(read_structure(path))
    assert (found.n_residues, *(found.count(region) for region in ("favoured", "allowed", "outlier"))) == (
        212,
        203,
        6,
        3,
    )


def contacts_of_gemmi(path) -> int:
    """Pairs of atoms that overlap, as gemmi's search for contacts finds them: atoms and rules by gemmi's own model."""
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    structure.cell = gemmi.UnitCell()  # the model alone, without its images in the crystal
    near = gemmi.NeighborSearch(structure[0], structure.cell, 5.0).populate(include_h=False)
    search = gemmi.ContactSearch(5.0)
    search.ignore = gemmi.ContactSearch.Ignore.SameResidue
    search.setup_atomic_radii(1.0, 0.0)
    for symbol in {cra.atom.element.name for cra in structure[0].all()}:
        search.set_radius(gemmi.Element(symbol), gemmi.Element(symbol).vdw_r - OVERLAP / 2.0)

    def counts(one, other) -> bool:
        names = {one.atom.element.name, other.atom.element.name}
        neighbours = abs(one.residue.seqid.num - other.residue.seqid.num) <= 1 and one.chain.name == other.chain.name
        polymers = all(cra.residue.entity_type == gemmi.EntityType.Polymer for cra in (one, other))
        return polymers and not neighbours and not names <= {"N", "O"} and names != {"S"}

    return sum(counts(found.partner1, found.partner2) for found in search.find_contacts(near))


@pytest.mark.parametrize("name", CLASHES)
def test_clashes_are_the_contacts_of_gemmi(data_dir, tmp_path, name):
    structure = read_structure(data_dir / name)
    write_structure(structure, tmp_path / "model.cif")
    assert count_clashes(structure) == contacts_of_gemmi(tmp_path / "model.cif") == CLASHES[name]


def test_a_deposited_model_in_its_map(data_dir):
    """EMD-2566, about 3.2 Å: the Q-score is near what cctbx has, and the geometry is that of a refined model."""
    folder = data_dir / "mitoribosome"
    found = validate(read_structure(folder / "3j6b_chain9.pdb"), read_map(folder / "emd_2566_chain9.mrc"), 3.2)
    assert found.q_score == pytest.approx(MITORIBOSOME_Q, abs=0.005)
    assert 0.6 < found.correlations.cc_mask < 0.8
    assert 0.6 < found.smoc < 0.9
    assert found.geometry.ca_distance_outliers == 0


@pytest.mark.parametrize(
    ("name", "bonds", "corners", "clashes"),
    [("adk/1ake.pdb", 0.0, 0.0, 0), ("adk/4ake_A.pdb", 0.0, 0.0, 0), ("groel/1oel.pdb", 0.005, 0.005, 2)],
)
def test_crystal_structures_have_next_to_no_outliers(data_dir, name, bonds, corners, clashes):
    from bayesflex.validation.ca_geometry import ca_geometry

    found = ca_geometry(read_structure(data_dir / name).ca_trace())
    assert found.bond_outlier.mean() <= bonds
    assert found.angle_outlier.mean() <= corners
    assert found.n_clashes <= clashes
