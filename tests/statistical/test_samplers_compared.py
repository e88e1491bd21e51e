"""The three kernels on one posterior: HMC draws the most independent draws from the same number of gradients."""

from __future__ import annotations

import pytest

from bayesflex.errors import ConfigError
from bayesflex.workflows.samplers import SamplerPlan, compare_samplers


@pytest.mark.slow
def test_hmc_makes_the_best_use_of_its_gradients():
    rows = {row.name: row for row in compare_samplers(SamplerPlan(n_residues=52, n_gradients=4000, chains=2))}
    per_gradient = {name: row.ess_min / row.n_evaluations for name, row in rows.items()}
    assert per_gradient["hmc"] > 3.0 * per_gradient["metropolis"]
    assert 0.6 < rows["hmc"].acceptance < 0.95
    assert 0.1 < rows["metropolis"].acceptance < 0.5
    for row in rows.values():
        assert row.n_evaluations == pytest.approx(8000, rel=0.1)


def test_too_few_draws_are_refused():
    with pytest.raises(ConfigError, match="at least 8 draws"):
        SamplerPlan(n_gradients=100)
