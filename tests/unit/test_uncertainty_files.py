"""Files of the uncertainty: every residue has a row, its atoms share it, and B-factors are left alone unless asked."""

from __future__ import annotations

import csv
from dataclasses import replace

import gemmi
import numpy as np
import pytest

from bayesflex.carrying import make_carrier
from bayesflex.errors import InputError
from bayesflex.io.structures import Category, read_structure, write_structure
from bayesflex.plots.shells import plot_shells
from bayesflex.plots.uncertainty import plot_uncertainty
from bayesflex.posterior_predictive import ShellCheck
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.uncertainty import ResidueUncertainty
from bayesflex.workflows.uncertainty_files import (
    mmcif_category,
    residue_rows,
    with_b_factors,
    write_attributes,
    write_shells,
    write_uncertainty,
)


@pytest.fixture(scope="module")
def model() -> Structure:
    """A protein of 40 residues with an ion after it, and an insertion code."""
    protein = two_domain_protein(60)
    protein = protein.select(protein.residue_number <= 40)
    insertion = protein.insertion_code.copy()
    insertion[protein.residue_number == 12] = "B"
    protein = replace(protein, insertion_code=insertion)
    ion = replace(
        protein.select(np.array([0])),
        coords=protein.coords[:1] + 5.0,
        element=np.array(["MG"]),
        atom_name=np.array(["MG"]),
        residue_name=np.array(["MG"]),
        residue_number=np.array([101]),
        insertion_code=np.array([""]),
        is_hetero=np.array([True]),
        is_ligand=np.array([True]),
    )
    columns = {
        name: np.concatenate([getattr(protein, name), getattr(ion, name)])
        for name in (
            *("coords", "element", "atom_name", "residue_name", "residue_number", "insertion_code", "chain"),
            *("occupancy", "b_factor", "is_hetero"),
        )
    }
    is_ligand = np.append(np.zeros(protein.n_atoms, dtype=bool), True)
    return replace(protein, **columns, is_ligand=is_ligand, template=None)


@pytest.fixture(scope="module")
def uncertainty(model) -> ResidueUncertainty:
    ca = model.ca_trace()
    n = ca.n_atoms
    sd = np.linspace(0.2, 1.0, n)
    prior = np.ones(n)
    prior[3] = 0.0
    return ResidueUncertainty(
        sd=sd,
        radius=2.5 * sd,
        local_sd=0.5 * sd,
        prior_local_sd=prior,
        support=np.linspace(0.8, 1.2, n),
        absent=np.arange(n) < 4,
        r_hat=np.full(n, 1.01),
        ess=np.full(n, 200.0),
        labels=ca.residue_labels,
    )


@pytest.fixture(scope="module")
def rows(model, uncertainty):
    return residue_rows(model, uncertainty, make_carrier(model).other_weights)


def test_every_residue_has_a_row_in_the_order_of_the_model(model, rows, uncertainty):
    assert len(rows) == model.n_residues == 41
    assert [(row.chain, row.number, row.name) for row in rows[:2]] == [("A", 1, "MET"), ("A", 2, "GLU")]
    assert (rows[11].number, rows[11].insertion_code) == (12, "B")
    np.testing.assert_allclose([row.sd for row in rows[:-1]], uncertainty.sd)
    assert [row.basis for row in rows] == ["sampled"] * 40 + ["carried"]
    assert [row.prior_only for row in rows[:5]] == [1, 1, 1, 1, 0]
    assert rows[3].contraction is None


def test_what_is_carried_has_the_spread_of_what_carries_it(model, rows, uncertainty):
    ion = rows[-1]
    near = np.linalg.norm(model.ca_trace().coords - model.coords[-1], axis=1) < 20.0
    assert uncertainty.sd[near].min() < ion.sd < uncertainty.sd[near].max()
    assert ion.radius_90 == pytest.approx(2.5 * ion.sd)
    assert (ion.contraction, ion.support, ion.prior_only) == (None, None, None)


def test_b_factors_are_those_of_the_mean_square_displacement(model, rows, uncertainty):
    made = with_b_factors(model, rows)
    mean_square = 3.0 * uncertainty.sd**2
    of_ca = made.b_factor[made.ca_indices]
    np.testing.assert_allclose(of_ca, 8.0 * np.pi**2 / 3.0 * mean_square)
    for index in range(made.n_residues):
        assert np.ptp(made.b_factor[made.residue_index == index]) == 0.0


def test_the_table_in_the_mmcif_file_is_read_by_others_and_leaves_b_factors_alone(model, rows, tmp_path):
    path = tmp_path / "fitted.cif"
    write_structure(model, path, categories=[mmcif_category(rows)])
    table = gemmi.cif.read(str(path)).sole_block().find_mmcif_category("_bayesflex_uncertainty.")
    columns = {tag.split(".")[1]: index for index, tag in enumerate(table.tags)}
    assert "b_factor" not in columns
    assert len(table) == 41
    first, twelfth, ion = table[0], table[11], table[40]
    assert [first[columns[name]] for name in ("auth_asym_id", "auth_seq_id", "auth_comp_id")] == ["A", "1", "MET"]
    assert float(first[columns["sd"]]) == pytest.approx(0.2, rel=1e-3)
    assert (first[columns["pdbx_PDB_ins_code"]], twelfth[columns["pdbx_PDB_ins_code"]]) == (".", "B")
    assert (ion[columns["basis"]], ion[columns["support"]]) == ("carried", ".")
    again = read_structure(path)
    np.testing.assert_allclose(again.b_factor, model.b_factor)
    np.testing.assert_allclose(again.coords, model.coords, atol=1e-3)


def test_tables_of_ones_own_do_not_go_into_pdb_files(model, tmp_path):
    with pytest.raises(InputError, match=r"mmCIF alone.*\.cif"):
        write_structure(model, tmp_path / "fitted.pdb", categories=[Category("own", {"a": [1]})])
    assert list(tmp_path.iterdir()) == []


def test_texts_that_mmcif_would_misread_are_quoted(model, tmp_path):
    values = ["two words", "_tag", "#", "it's", "?", None, 1, 0.25]
    path = tmp_path / "model.cif"
    write_structure(model, path, categories=[Category("own_table", {"value": values})])
    column = gemmi.cif.read(str(path)).sole_block().find_values("_own_table.value")
    assert [gemmi.cif.as_string(value) for value in column] == ["two words", "_tag", "#", "it's", "?", "", "1", "0.25"]


def test_columns_of_the_csv_file(rows, tmp_path):
    write_uncertainty(rows, tmp_path / "uncertainty.csv")
    with (tmp_path / "uncertainty.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 41
    assert (table[11]["number"], table[11]["insertion_code"]) == ("12", "B")
    assert float(table[5]["b_factor"]) == pytest.approx(8 * np.pi**2 * float(table[5]["sd"]) ** 2, rel=1e-3)
    assert table[3]["contraction"] == table[40]["support"] == ""
    assert (table[0]["prior_only"], table[10]["prior_only"], table[40]["prior_only"]) == ("1", "0", "")


def test_attributes_are_lines_that_chimerax_reads(rows, tmp_path):
    write_attributes(rows, tmp_path / "uncertainty.defattr")
    lines = (tmp_path / "uncertainty.defattr").read_text(encoding="utf-8").splitlines()
    names = [line.removeprefix("attribute: ") for line in lines if line.startswith("attribute: ")]
    assert names[0] == "bayesflex_sd"
    assert len(set(names)) == len(names) == 5
    assert lines.count("recipient: residues") == 5
    start = lines.index("attribute: bayesflex_sd") + 3
    values = lines[start : start + 41]
    assert values[0] == "\t/A:1\t0.2"
    assert values[11].startswith("\t/A:12B\t")
    assert all(line.count("\t") == 2 for line in values)
    # The ion has a spread and no contraction.
    assert sum(line.startswith("\t/A:101\t") for line in lines) == 2


@pytest.fixture
def shells() -> ShellCheck:
    edges = np.linspace(0.0, 0.2, 9)
    observations = np.linspace(30.0, 600.0, 8)
    observed = observations * np.array([3.0, 1.8, 1.0, 1.0, 0.9, 0.9, 0.9, 0.8])
    return ShellCheck(edges[:-1], edges[1:], observations, observed, 0.8 * observations, 1.2 * observations)


def test_shells_beyond_noise_are_marked(shells, tmp_path):
    assert shells.excess.tolist() == [True, True] + [False] * 6
    write_shells(shells, tmp_path / "shells.csv")
    with (tmp_path / "shells.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["excess"] for row in table] == ["1", "1"] + ["0"] * 6
    assert float(table[1]["chi_squared"]) == pytest.approx(1.8 * float(table[1]["expected"]), rel=1e-3)


def test_small_errors_of_many_observations_are_no_excess(shells):
    many = replace(shells, observations=1e5 + 0 * shells.observed, observed=1.1e5 + 0 * shells.observed)
    assert not many.excess.any()


def test_figure_of_shells_marks_what_is_beyond_noise(shells):
    (axis,) = plot_shells(shells).axes
    marked = [line for line in axis.get_lines() if line.get_label() == "beyond noise"]
    assert len(marked[0].get_xdata()) == 2
    assert axis.get_ylim()[1] > 2.0
    labels = [
        line.get_label() for line in plot_shells(replace(shells, observed=shells.observations)).axes[0].get_lines()
    ]
    assert "beyond noise" not in labels


def test_figure_of_uncertainty_shades_what_is_prior_only(model, uncertainty):
    spread, share = plot_uncertainty(model.ca_trace().chain, uncertainty).axes
    shaded = [patch for patch in spread.patches if patch.get_width() > 1.0]
    assert [(patch.get_x(), patch.get_width()) for patch in shaded] == [(0.5, 4.0)]
    assert {line.get_label() for line in share.get_lines()} >= {"contraction", "support"}
    assert spread.get_ylim()[1] > uncertainty.radius.max()
