"""Real maps lie where their models are."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.io.maps import read_map, write_map
from bayesflex.io.mrc_header import chimerax_file_type, chimerax_origin
from bayesflex.placement import check_placement

#: Map, model that was built in it or that it was computed from, origin (Å), voxel size (Å), least mean SD at the CA.
CASES = [
    ("adk_modes/target.mrc", "adk_modes/target_ca.pdb", (-48, -48, -48), 1.5, 7.5),
    ("groel/1oel.ccp4", "groel/1oel.pdb", (-34, -52, -44), 2.0, 2.5),
    ("groel/1sx4A.ccp4", "groel/1sx4A.pdb", (-34, -52, -38), 2.0, 2.5),
    ("rf2/emd_1010.mrc", "rf2/1mi6.pdb", (-126.9, -70.5, -126.9), 2.82, 6.9),
    ("mitoribosome/emd_2566_chain9.mrc", "mitoribosome/3j6b_chain9.pdb", (356.44, 155.44, 159.46), 1.34, 4.0),
    ("rubella/emd_8249.map", "rubella/5khe.pdb", (-63.36, -63.36, -63.36), 5.28, 3.0),
    (
        "formats/non_zero_origin_map.ccp4",
        "formats/non_zero_origin_model.pdb",
        (74.703, 72.308, 73.744),
        (149.407 / 200, 144.615 / 200, 147.488 / 200),
        6.0,
    ),
]


def ca_coords(path: Path) -> np.ndarray:
    model = gemmi.read_structure(str(path))[0]
    atoms = (atom for chain in model for residue in chain for atom in residue)
    return np.array([atom.pos.tolist() for atom in atoms if atom.name == "CA" and atom.element.name == "C"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_map_overlays_its_model(data_dir: Path, case: tuple) -> None:
    map_name, model_name, origin, voxel_size, least_sd = case
    density = read_map(data_dir / map_name)
    np.testing.assert_allclose(density.origin, origin, atol=2e-3)
    np.testing.assert_allclose(density.voxel_size, voxel_size, rtol=1e-5)
    report = check_placement(density, ca_coords(data_dir / model_name))
    assert report.n_inside == report.n_ca
    assert report.mean_sd > least_sd
    assert report.warnings == ()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
@pytest.mark.parametrize("suffix", [".mrc", ".map.gz"])
def test_what_is_written_lies_there_too(data_dir: Path, tmp_path: Path, case: tuple, suffix: str) -> None:
    density = read_map(data_dir / case[0])
    path = tmp_path / f"copy{suffix}"
    write_map(density, path)
    copy = read_map(path)
    np.testing.assert_allclose(copy.origin, density.origin, atol=1e-3)
    shown = chimerax_origin(copy.header, copy.voxel_size, chimerax_file_type(path.name))
    np.testing.assert_allclose(shown, density.origin, atol=3e-3)
    np.testing.assert_array_equal(copy.values, density.values)
    assert copy.header.axes == density.header.axes
    assert copy.header.labels == density.header.labels


def test_rf2_start_is_in_its_map(data_dir: Path) -> None:
    report = check_placement(read_map(data_dir / "rf2/emd_1010.mrc"), ca_coords(data_dir / "rf2/1gqe_docked.pdb"))
    assert report.mean_sd == pytest.approx(3.3, abs=0.1)
    assert report.warnings == ()


@pytest.mark.parametrize("start", ["1oel", "1sx4A"])
def test_groel_starts_of_the_other_conformation_raise_no_alarm(data_dir: Path, start: str) -> None:
    other = {"1oel": "1sx4A", "1sx4A": "1oel"}[start]
    report = check_placement(read_map(data_dir / f"groel/{other}.ccp4"), ca_coords(data_dir / f"groel/{start}.pdb"))
    assert report.warnings == ()


def test_rubella_misplaced_is_noticed(data_dir: Path) -> None:
    density = read_map(data_dir / "rubella/emd_8249.map", origin="origin")
    report = check_placement(density, ca_coords(data_dir / "rubella/5khe.pdb"))
    assert report.alternative == ("nstart", pytest.approx(3.45, abs=0.05))
    assert any("--origin nstart" in text for text in report.warnings)
    assert any("does not overlay" in text for text in report.warnings)


def test_other_formats(data_dir: Path) -> None:
    np.testing.assert_allclose(read_map(data_dir / "formats/EMD-3197.map").origin, [-22.8, 0.0, 0.0])
    with pytest.raises(InputError, match=r"orthogonal .*94\.326"):
        read_map(data_dir / "formats/EMD-3001.map")
    with pytest.raises(InputError, match="not a map"):
        read_map(data_dir / "groel/1oel.pdb")
    with pytest.raises(InputError, match="not a map"):
        read_map(data_dir / "p97/5ftm.pdb.gz")
