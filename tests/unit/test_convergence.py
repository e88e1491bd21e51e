"""Convergence: what is judged, and sentences that say what is wrong and what to do."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace

import numpy as np
import pytest
from small_trace import make_trace

from bayesflex.convergence import R_HAT_LIMIT, convergence, write_convergence
from bayesflex.diagnostics import r_hat_and_ess


def test_chains_that_agree_raise_no_warning(rng: np.random.Generator, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = convergence(make_trace(rng.normal(size=(4, 100, 200, 3))))
    assert result.warnings == ()
    assert 1.0 < result.r_hat_max < R_HAT_LIMIT
    assert result.r_hat_residues.shape == result.ess_residues.shape == (200,)
    assert result.names[:3] == ("log density", "energy", "mode 7")
    assert len(result.names) == 3 + 3 * 64
    assert {"residue A 1 x", "residue A 200 z"} <= set(result.names)
    assert caplog.records == []


def test_the_worst_quantity_is_named_and_each_trouble_is_told(rng: np.random.Generator) -> None:
    coords = rng.normal(size=(4, 100, 6, 3))
    coords[2, :, 4, 1] += 6.0
    coords[:, :, 1] = 2.5
    diverging = np.zeros((4, 100), dtype=bool)
    diverging[0, :7] = True
    steady = rng.normal(size=(4, 100))
    result = convergence(make_trace(coords, lp=steady, amplitudes=steady[..., np.newaxis], diverging=diverging))
    assert result.worst == "residue A 5 y"
    assert result.r_hat_max == result.r_hat_residues[4] > 1.5
    assert np.isnan(result.r_hat_residues[1])
    text = "\n".join(result.warnings)
    assert "do not agree on residue A 5 y" in text
    assert "1 of 6 residues are concerned: A 5." in text
    assert "--iterations" in text
    assert "independent ones for residue A 5 y" in text
    assert "1 of 6 residues never moved" in text
    assert "7 of 400 iterations ended in an impossible position" in text


def test_one_divergence_is_told(rng: np.random.Generator) -> None:
    diverging = np.zeros((4, 100), dtype=bool)
    diverging[2, 3] = True
    (sentence,) = convergence(make_trace(rng.normal(size=(4, 100, 5, 3)), diverging=diverging)).warnings
    assert "1 of 400 iterations" in sentence
    assert "--target-acceptance" in sentence


def test_chains_whose_energy_moves_slowly_are_named(rng: np.random.Generator) -> None:
    energy = rng.normal(size=(4, 100))
    energy[1] = np.linspace(0.0, 30.0, 100) + 0.1 * energy[1]
    result = convergence(make_trace(rng.normal(size=(4, 100, 5, 3)), energy=energy))
    assert result.bfmi_min == result.bfmi[1] < 0.3
    (sentence,) = result.warnings
    assert "in chain 1 (E-BFMI" in sentence
    assert "--warmup-iterations" in sentence


def test_energies_that_are_not_known_are_not_judged(rng: np.random.Generator) -> None:
    trace = make_trace(rng.normal(size=(2, 100, 5, 3)))
    bare = replace(trace, sample_stats={"lp": trace.log_density})
    assert np.isnan(convergence(bare).bfmi).all()
    assert np.isnan(convergence(bare).bfmi_min)


def test_tails_that_are_poorer_than_the_bulk_are_told(rng: np.random.Generator) -> None:
    amplitudes = rng.normal(size=(4, 400, 1))
    # A rare excursion, taken by two chains: the middle is known well and the end hardly.
    amplitudes[0, 100:150] += 6.0
    amplitudes[1, 200:230] += 6.0
    result = convergence(make_trace(rng.normal(size=(4, 400, 5, 3)), amplitudes=amplitudes))
    assert result.ess_tail[result.names.index("mode 7")] < 40 < result.ess_min
    assert any("In the tails" in sentence and "mode 7" in sentence for sentence in result.warnings)


def test_correlations_are_judged_where_the_trace_holds_them(rng: np.random.Generator) -> None:
    correlation = rng.normal(size=(4, 100))
    correlation[3] += 5.0
    result = convergence(make_trace(rng.normal(size=(4, 100, 5, 3)), cc_centred=correlation))
    assert result.worst == "cc_centred"
    assert result.mean[result.names.index("cc_centred")] == pytest.approx(correlation.mean())


def test_the_table_has_a_row_for_each_quantity(rng: np.random.Generator, tmp_path) -> None:
    coords = rng.normal(size=(4, 50, 3, 3))
    coords[:, :, 2, 0] = 7.0
    found = convergence(make_trace(coords))
    write_convergence(found, tmp_path / "diagnostics.csv")
    with (tmp_path / "diagnostics.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["quantity"]: row for row in csv.DictReader(file)}
    assert tuple(rows) == found.names
    still, moving = rows["residue A 3 x"], rows["residue A 1 y"]
    assert (still["mean"], still["r_hat"], still["ess_tail"]) == ("7", "", "")
    index = found.names.index("residue A 1 y")
    assert float(moving["r_hat"]) == pytest.approx(found.r_hat[index], rel=1e-5)
    assert float(moving["ess_bulk"]) == pytest.approx(found.ess_bulk[index], rel=1e-5)
    assert float(moving["sd"]) == pytest.approx(coords[:, :, 0, 1].std(), rel=1e-5)


def test_the_larger_of_x_y_z_counts_for_a_residue(rng: np.random.Generator) -> None:
    coords = rng.normal(size=(4, 40, 5, 3))
    r_hat, ess = r_hat_and_ess(coords.reshape(4, 40, 15))
    result = convergence(make_trace(coords))
    np.testing.assert_array_equal(result.r_hat_residues, r_hat.reshape(5, 3).max(axis=1))
    np.testing.assert_array_equal(result.ess_residues, ess.reshape(5, 3).min(axis=1))


def test_a_trace_too_short_or_without_motion_is_told_and_gives_nan(rng: np.random.Generator) -> None:
    short = convergence(make_trace(rng.normal(size=(1, 2, 3, 3))))
    assert np.isnan([short.r_hat_max, short.ess_min]).all()
    assert short.worst == "none"
    assert "2 draws" in short.warnings[0]
    assert "one chain" in short.warnings[1]
    still = convergence(make_trace(np.ones((2, 10, 3, 3))))
    assert still.worst == "none"
    assert any("3 of 3 residues never moved" in sentence for sentence in still.warnings)
