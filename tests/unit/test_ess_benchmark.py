"""The benchmark of effective draws: its bound on chains known in closed form, and the command on one small case."""

from __future__ import annotations

import json
import sys

import benchmarks.ess as ess
import numpy as np
import pytest
from benchmarks.sections import ess_lines


def autoregressive(rng, coefficients, n_chains=4, n_draws=4000):
    """Reversible chains x' = a x + √(1 - a²) ξ at equilibrium: variance 1, τ = (1 + a) / (1 - a)."""
    a = np.asarray(coefficients)
    draws = np.empty((n_chains, n_draws, a.size))
    draws[:, 0] = rng.normal(size=(n_chains, a.size))
    for k in range(1, n_draws):
        draws[:, k] = a * draws[:, k - 1] + np.sqrt(1.0 - a**2) * rng.normal(size=(n_chains, a.size))
    return draws


def test_the_bound_is_exact_for_a_chain_of_one_time(rng):
    a = np.array([0.0, 0.3, 0.6, 0.9])
    draws = autoregressive(rng, a)
    expected = draws.shape[0] * draws.shape[1] * (1.0 - a) / (1.0 + a)
    np.testing.assert_allclose(ess.most_effective_draws(draws, np.ones(a.size)), expected, rtol=0.15)


def test_the_bound_holds_for_a_chain_of_two_times(rng):
    """Half of the variance fast, half slow: more is allowed than is there, less than the shortest lag alone allows."""
    fast, slow = np.moveaxis(autoregressive(rng, [0.1, 0.97], n_draws=20_000), 2, 0)
    draws = np.sqrt(0.5) * (fast + slow)[..., None]
    n = draws.shape[0] * draws.shape[1]
    time = 0.5 * (1.1 / 0.9 + 1.97 / 0.03)
    rho = 0.5 * (0.1 + 0.97)
    (bound,) = ess.most_effective_draws(draws, np.ones(1))
    assert n / time < bound < n * (1.0 - rho) / (1.0 + rho)


def test_a_chain_that_hardly_moves_is_bounded_by_its_moves(rng):
    """From a stretch far shorter than it would take to cross the density."""
    a = 1.0 - 1e-5
    draws = autoregressive(rng, [a], n_draws=200)
    (bound,) = ess.most_effective_draws(draws, np.ones(1))
    assert bound == pytest.approx(800 * (1.0 - a) / (1.0 + a), rel=0.5)


@pytest.mark.slow
def test_a_fit_beats_unit_masses_on_a_small_case(tmp_path, monkeypatch):
    monkeypatch.delenv("BAYESFLEX_DATA", raising=False)
    output = tmp_path / "ess.json"
    monkeypatch.setattr(sys, "argv", ["ess", "--case", "AdK", "--draws", "100", "-o", str(output)])
    ess.main()
    record = json.loads(output.read_text(encoding="utf-8"))
    (case,) = record["cases"]
    assert case["model"] == "made by the program"
    assert [row["sampler"] for row in case["samplers"]] == [sampler.name for sampler in ess.SAMPLERS]
    for row in case["samplers"]:
        assert 0.6 < row["acceptance"] < 0.97
        assert row["gradients_per_second"] > 0.0
    assert case["at_least_times"][ess.UNIT]["amplitudes"]["median"] > 1.5
    text = "\n".join(ess_lines(record))
    assert "AdK: 214 CA (made by the program)" in text
