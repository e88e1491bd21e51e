"""``bayesflex validate``: its files, its numbers on a map made from the model, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from bayesflex.io.maps import write_map
from bayesflex.io.structures import write_structure
from bayesflex.workflows.simulate import simulate

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "validation.md").read_text(encoding="utf-8")
FILES = {
    "validation.json",
    "validation_chains.csv",
    "validation_residues.csv",
    "validation_fsc.csv",
    "validation_fsc.png",
    "validation_residues.png",
}


@pytest.fixture(scope="module")
def inputs(structure, tmp_path_factory) -> Path:
    """A model, its noisy map at 5 Å with two half maps, and its CA trace."""
    folder = tmp_path_factory.mktemp("validate")
    write_structure(structure, folder / "model.cif")
    write_structure(structure.ca_trace(), folder / "trace.cif")
    clean = simulate(structure, resolution=5.0)
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(2, *clean.values.shape)) * clean.values.std()
    for name, values in {
        "map": clean.values + 0.5 * noise.sum(axis=0),
        "half1": clean.values + noise[0],
        "half2": clean.values + noise[1],
        "mask": (clean.values > 0.1 * clean.values.max()),
    }.items():
        write_map(clean.with_values(values.astype(np.float32)), folder / f"{name}.mrc")
    write_map(simulate(structure, resolution=5.0, voxel=2.0), folder / "other.mrc")
    return folder


@pytest.fixture(scope="module")
def folder(run, inputs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("validated") / "out"
    halves = ["--half1", inputs / "half1.mrc", "--half2", inputs / "half2.mrc"]
    outcome = run("validate", inputs / "model.cif", inputs / "map.mrc", "-o", out, "--resolution", 5, *halves)
    assert outcome.code == 0, outcome.err
    assert "cc_mask" in outcome.out
    assert "half-map FSC" in outcome.out
    return out


def named(table: str) -> set[str]:
    rows = re.search(rf"<!-- {table}: begin -->\n(.*?)<!-- {table}: end -->", PAGE, flags=re.DOTALL).group(1)
    return {name for row in rows.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_files_and_their_columns_are_those_of_the_page(folder):
    assert {path.name for path in folder.iterdir()} == FILES == named("files")
    numbers = json.loads((folder / "validation.json").read_text(encoding="utf-8"))["model"]
    assert set(numbers) == named("numbers")
    for table in ("chains", "residues"):
        assert set(read_csv(folder / f"validation_{table}.csv")[0]) == named(table)


def test_numbers_of_a_model_in_its_own_map(folder, structure):
    numbers = json.loads((folder / "validation.json").read_text(encoding="utf-8"))["model"]
    assert 0.6 < numbers["cc_mask"] < 1.0
    assert numbers["cc_box"] < numbers["cc_mask"]
    assert numbers["drawn"] == "all atoms"
    assert numbers["ca_distances"] == structure.ca_trace().n_atoms - 1
    # The half maps hold twice the noise of the map.
    assert numbers["map_model_fsc"]["resolution_0.5"]["masked"] < numbers["half_map_fsc"]["resolution_0.5"]["masked"]


def test_every_residue_and_chain_has_a_row(folder, structure):
    residues = read_csv(folder / "validation_residues.csv")
    assert len(residues) == structure.n_residues
    assert all(0.0 < float(row["smoc"]) <= 1.0 for row in residues)
    chains = read_csv(folder / "validation_chains.csv")
    assert [row["chain"] for row in chains] == list(dict.fromkeys(structure.chain.tolist()))
    assert sum(int(row["n_residues"]) for row in chains) == structure.n_residues


def test_the_resolution_may_come_from_the_half_maps(run, inputs, tmp_path):
    halves = ["--half1", inputs / "half1.mrc", "--half2", inputs / "half2.mrc"]
    outcome = run("validate", inputs / "model.cif", inputs / "map.mrc", "-o", tmp_path / "out", *halves)
    assert outcome.code == 0, outcome.err
    numbers = json.loads((tmp_path / "out" / "validation.json").read_text(encoding="utf-8"))["model"]
    assert numbers["resolution"] == pytest.approx(numbers["half_map_fsc"]["resolution_0.143"]["unmasked"], rel=1e-6)


def test_a_ca_trace_and_a_mask(run, inputs, tmp_path):
    arguments = ["--resolution", 5, "--mask", inputs / "mask.mrc"]
    outcome = run("validate", inputs / "trace.cif", inputs / "map.mrc", "-o", tmp_path / "out", *arguments)
    assert outcome.code == 0, outcome.err
    assert "Note: The model is a CA trace" in outcome.err
    numbers = json.loads((tmp_path / "out" / "validation.json").read_text(encoding="utf-8"))["model"]
    assert numbers["drawn"] == "CA trace"
    assert numbers["q_score"] is None
    assert numbers["atom_clashes"] is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no resolution was given"),
        (["--resolution", 0], "expected a positive number"),
        (["--resolution", 5, "--half1", "half1.mrc"], "--half2"),
        (["--resolution", 5, "--mask", "other.mrc"], "expected a mask on the grid"),
        (["--half1", "half1.mrc", "--half2", "other.mrc"], "expected a half map on the grid"),
    ],
)
def test_what_is_refused_leaves_no_folder(run, inputs, tmp_path, arguments, complaint):
    given = [inputs / text if str(text).endswith(".mrc") else text for text in arguments]
    outcome = run("validate", inputs / "model.cif", inputs / "map.mrc", "-o", tmp_path / "out", *given)
    assert outcome.code == 2
    assert complaint in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_model_outside_the_map_is_refused(run, inputs, structure, tmp_path):
    write_structure(structure.with_coords(structure.coords + 1000.0), tmp_path / "far.cif")
    outcome = run("validate", tmp_path / "far.cif", inputs / "map.mrc", "-o", tmp_path / "out", "--resolution", 5)
    assert outcome.code == 2
    assert "dock the model" in outcome.err


def test_the_table_escapes_what_files_are_called(structure):
    from dataclasses import replace

    from bayesflex.validation import validate

    named_badly = replace(structure, name="<script>alert('a')</script>")
    page = validate(named_badly, simulate(structure, resolution=8.0), 8.0)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
