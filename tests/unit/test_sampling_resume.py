"""A chain that was interrupted and goes on from its checkpoint repeats an uninterrupted one, bit for bit."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from small_fit import Interrupter, Interruption, Keeper, assert_same_chains, likelihoods, prepared, run
from threadpoolctl import threadpool_limits

from bayesflex.deformation import Deformation
from bayesflex.reporters import NullReporter
from bayesflex.sampling import Chain
from bayesflex.sampling import chain as chain_module
from bayesflex.sampling.checkpoint import Heating, Steering, load_checkpoint

KINDS = [(approach, rigid) for approach in ("local", "global", "combined") for rigid in (False, True)]

#: Iteration 0 is the start, 1 to 10 at most are those of blurred stages, the last 8 those that are kept.
IN_FIRST_STAGE, IN_SECOND_STAGE, IN_WARM_UP, IN_SAMPLING = 2, -20, -10, -4


@pytest.fixture(autouse=True)
def checkpoint_after_each_draw(monkeypatch):
    monkeypatch.setattr(chain_module, "_CHECKPOINT_INTERVAL", -1.0)


@pytest.fixture(scope="module")
def whole():
    """Uninterrupted chains by kind, run once."""
    runs = {}

    def of(approach, rigid):
        if (approach, rigid) not in runs:
            runs[approach, rigid] = run(deformation=approach, rigid=rigid)
        return runs[approach, rigid]

    return of


def iteration_of(chains, place):
    """An iteration of chain 0, counted from the end of its records where it is negative."""
    return place if place >= 0 else chains[0].records[place].iteration


@pytest.mark.parametrize("place", [IN_FIRST_STAGE, IN_SECOND_STAGE, IN_WARM_UP, IN_SAMPLING])
@pytest.mark.parametrize(("approach", "rigid"), KINDS)
def test_resumed(approach, rigid, place, whole, tmp_path):
    expected = whole(approach, rigid)
    stop = Interrupter(iteration_of(expected, place))
    with pytest.raises(Interruption):
        run(tmp_path, stop, deformation=approach, rigid=rigid)
    heard = Keeper()
    chains = run(tmp_path, heard, deformation=approach, rigid=rigid)
    assert_same_chains(chains, expected)
    # Reporters hear the whole story, so that what they write is whole too.
    assert [heard.rows[chain] for chain in (0, 1)] == [list(chain.records) for chain in expected]


def test_interrupted_at_every_iteration_in_turn(whole, tmp_path):
    """Each session comes one stage or draw further than the one before, and ends by the next interruption."""
    expected = whole("combined", True)
    n_interruptions = 0
    for iteration in range(1, len(expected[0].records), 4):
        with pytest.raises(Interruption):
            run(tmp_path, Interrupter(iteration), deformation="combined", rigid=True)
        n_interruptions += 1
    assert n_interruptions > 4
    assert_same_chains(run(tmp_path, deformation="combined", rigid=True), expected)


def test_interrupted_twice_while_sampling_from_checkpoints_far_apart(whole, tmp_path, monkeypatch):
    """Without a checkpoint among the draws they are made again, the same."""
    monkeypatch.setattr(chain_module, "_CHECKPOINT_INTERVAL", 3600.0)
    expected = whole("combined", False)
    for place in (-5, -2):
        with pytest.raises(Interruption):
            run(tmp_path, Interrupter(iteration_of(expected, place)))
        with np.load(tmp_path / "chain-1.npz") as saved:
            assert len(saved["draws"]) == 0
            assert "position" in saved
    assert_same_chains(run(tmp_path), expected)


def test_a_finished_chain_is_left_as_it_is(whole, tmp_path):
    first = run(tmp_path)
    states = [chain._rng.bit_generator.state for chain in first]
    again = run(tmp_path)
    assert_same_chains(again, whole("combined", False))
    assert [chain._rng.bit_generator.state for chain in again] == states


@pytest.mark.parametrize("place", [3, -3])
def test_the_stop_event_ends_a_chain_at_its_next_iteration(place, whole, tmp_path):
    expected = whole("combined", False)[0]
    last = iteration_of([expected], place)
    stop = threading.Event()

    class Stopper(NullReporter):
        def record(self, row):
            if row.iteration == last:
                stop.set()

    chain = make_chain(tmp_path / "chain-1.npz", Stopper(), stop)
    with pytest.raises(chain_module.Stopped), threadpool_limits(1):
        chain.run()
    assert chain.records[-1].iteration == last
    resumed = make_chain(tmp_path / "chain-1.npz", NullReporter(), threading.Event())
    with threadpool_limits(1):
        resumed.run()
    assert_same_chains([resumed], [expected])


@pytest.mark.parametrize(
    ("approach", "place", "kind"),
    [("combined", 2, Steering), ("local", 8, Heating), ("combined", -14, Heating), ("combined", -10, Heating)],
)
def test_a_stopped_chain_is_kept_as_it_is_in_the_middle_of_a_stage(approach, place, kind, whole, tmp_path, monkeypatch):
    """Also where no checkpoint is due: nothing that was reported is made again."""
    monkeypatch.setattr(chain_module, "_CHECKPOINT_INTERVAL", 3600.0)
    expected = whole(approach, False)
    last = iteration_of(expected, place)
    stop = threading.Event()

    class Stopper(NullReporter):
        def record(self, row):
            if row.iteration == last:
                stop.set()

    path = tmp_path / "chain-1.npz"
    with pytest.raises(chain_module.Stopped), threadpool_limits(1):
        make_chain(path, Stopper(), stop, deformation=approach, rigid=False).run()
    progress, _, _ = load_checkpoint(path)
    assert isinstance(progress.within, kind)
    assert progress.records == list(expected[0].records[: len(progress.records)])
    assert progress.records[-1].iteration == last
    heard = Keeper()
    resumed = make_chain(path, heard, threading.Event(), deformation=approach, rigid=False)
    with threadpool_limits(1):
        resumed.run()
    assert [row.iteration for row in heard.rows[0]] == [row.iteration for row in expected[0].records]
    assert_same_chains([resumed], [expected[0]])


def test_a_posterior_is_as_new_wherever_its_lists_were_built(rng):
    """Bit for bit: a chain that is resumed builds them where another one has long had them."""
    problem = prepared().problem
    free = Deformation("local", problem.start, problem.mode_vectors[:0])

    def posterior():
        return problem.posterior(likelihoods()[0].clone(), [term.clone() for term in problem.terms], free)

    walked, theta = posterior(), np.zeros(problem.start.size)
    for _ in range(30):
        theta = theta + 0.15 * rng.standard_normal(theta.size)
        walked(theta)
        one, other = walked(theta), posterior()(theta)
        assert one.log_density == other.log_density
        np.testing.assert_array_equal(one.gradient, other.gradient)


def make_chain(checkpoint, reporter, stop, **changes):
    fit = prepared(**changes)
    rng = np.random.default_rng(np.random.SeedSequence(fit.config.seed).spawn(2)[0])
    return Chain(fit.problem, fit.stages, likelihoods(**changes), 0, rng, reporter, stop, checkpoint)
