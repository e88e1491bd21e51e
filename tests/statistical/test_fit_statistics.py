"""Small fits from start to end, by each approach."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.fit import fit
from bayesflex.workflows.simulate import simulate

KINDS = [(approach, rigid) for approach in ("local", "global", "combined") for rigid in (False, True)]


@pytest.fixture(scope="module")
def inputs():
    start, end = two_domain_pair(100, 30.0)
    return start, end, simulate(end, resolution=6.0, kernel="gaussian", noise=0.3)


@pytest.fixture(scope="module")
def results(inputs):
    """Fits by kind, made once each."""
    start, end, density = inputs
    made = {}

    def of(approach, rigid):
        if (approach, rigid) not in made:
            config = FitConfig(
                resolution=6.0,
                sigma=1.35,
                deformation=approach,
                rigid=rigid,
                # With domain motions a chain of "global" can stop in a strained place, where steps diverge.
                domain_motions="off" if approach == "global" else "auto",
                modes=tuple(range(7, 12)),
                chains=2,
                iterations=20,
                stage_iterations=20,
                warmup_iterations=25,
                steps=10,
                threads=2,
            )
            made[approach, rigid] = fit(start, density, config, reference=end)
        return made[approach, rigid]

    return of


@pytest.mark.parametrize(("approach", "rigid"), KINDS)
def test_a_fit_runs_and_all_that_it_records_is_finite(approach, rigid, results):
    result = results(approach, rigid)
    assert result.trace.coords.shape == (2, 20, 100, 3)
    for name, column in result.metrics.values.items():
        stepped = result.metrics.column("acceptance") if name in ("acceptance", "step_size", "divergent") else column
        used = np.isfinite(stepped)
        assert np.isfinite(column[used]).all()
        # Only the start and steering have no kernel.
        assert used[result.metrics.stage == "sampling"].all()
    assert np.isfinite(result.fitted.coords).all()
    assert np.isfinite(result.fitted_map.values).all()
    assert result.summary["n_divergent"] == 0
    assert 0.3 < result.summary["acceptance"] < 1.0


# Modes alone hold the centre and the mean orientation: when one domain moves the other recoils, and nothing is gained.
@pytest.mark.parametrize(("approach", "rigid"), [kind for kind in KINDS if kind != ("global", False)])
def test_a_fit_ends_nearer_to_the_answer_and_to_the_map(approach, rigid, results):
    summary = results(approach, rigid).summary
    assert summary["rmsd_to_reference"]["fitted"] < summary["rmsd_to_reference"]["start"]
    assert summary["cc_centred"]["fitted"] > summary["cc_centred"]["start"]


@pytest.mark.parametrize("rigid", [False, True])
def test_modes_and_local_displacements_together_arrive(rigid, results):
    summary = results("combined", rigid).summary
    assert summary["rmsd_to_reference"]["start"] > 4.0
    assert summary["rmsd_to_reference"]["fitted"] < 1.5
    assert summary["cc_centred"]["fitted"] > 0.9


def test_amplitudes_of_local_fits_are_not_recorded(results):
    assert not [name for name in results("local", False).metrics.values if name.startswith("amplitude")]
    assert [name for name in results("combined", False).metrics.values if name.startswith("amplitude")] == [
        f"amplitude_{number}" for number in range(7, 12)
    ]
