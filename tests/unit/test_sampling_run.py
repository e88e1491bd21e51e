"""Chains run side by side: the same draws whatever the threads, and one failure ends them all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_fit import Interrupter, Keeper, assert_same_chains, likelihoods, prepared, run

from bayesflex.errors import ConfigError, InputError, SamplingError
from bayesflex.reporters import NullReporter
from bayesflex.sampling import run_chains, stage_evaluations, stage_likelihoods, thread_count
from bayesflex.sampling.checkpoint import load_checkpoint


def coords_of(chains):
    return np.array([chain.draws.coords for chain in chains])


@pytest.mark.parametrize("approach", ["local", "global", "combined"])
def test_draws_do_not_depend_on_threads(approach):
    fit = prepared(deformation=approach, chains=4)
    ones = run(deformation=approach, chains=4)
    for threads in (2, 4):
        more = replace(fit, problem=replace(fit.problem, config=replace(fit.config, threads=threads)))
        assert_same_chains(ones, run(fit=more, deformation=approach, chains=4))


def test_draws_of_a_chain_do_not_depend_on_how_many_there_are():
    assert_same_chains(run(chains=4)[:2], run(chains=2))


def test_another_seed_gives_other_draws():
    ones, others = coords_of(run()), coords_of(run(seed=2))
    assert ones.shape == others.shape == (2, 8, 60, 3)
    assert np.abs(ones - others).max() > 0.1


def test_chains_differ_among_themselves():
    draws = coords_of(run(chains=4))
    for one in range(4):
        for other in range(one):
            assert np.abs(draws[one] - draws[other]).max(axis=(1, 2)).min() > 0.1


def test_what_is_recorded():
    heard = Keeper()
    chains = run(reporter=heard)
    for number, chain in enumerate(chains):
        rows = heard.rows[number]
        assert rows == list(chain.records)
        assert [row.iteration for row in rows] == list(range(len(rows)))
        stages = [row.stage for row in rows]
        assert list(dict.fromkeys(stages)) == ["start", "warmup-1", "warmup-2", "warmup-3", "sampling"]
        assert stages.count("warmup-3") == 8
        assert stages.count("sampling") == len(chain.draws.coords) == len(chain.draws.statistics) == 8
        # A row of the sampling is the statistics of its draw, and speaks of the draw's own coordinates.
        for row, statistics, coords in zip(rows[-8:], chain.draws.statistics, chain.draws.coords, strict=True):
            assert {**row.values, **statistics} == statistics
            answer, matched = prepared().problem.reference
            rmsd = np.sqrt(np.mean(np.sum((coords[matched] - answer) ** 2, axis=1)))
            assert row.values["rmsd_to_reference"] == pytest.approx(rmsd, abs=1e-5)
        assert all(np.isfinite(list(row.values.values())).all() for row in rows)
        assert chain.n_gradients >= sum(statistics["n_steps"] for statistics in chain.draws.statistics)


def test_the_reporter_is_told_how_long_it_takes():
    class Starts(NullReporter):
        def start(self, n_chains, n_iterations):
            self.told = n_chains, n_iterations

    reporter = Starts()
    run(reporter=reporter)
    # The start, two steered stages that soften at their end, the last stage, the draws.
    assert reporter.told == (2, 1 + 5 + 1 + 5 + 1 + 8 + 8)


@pytest.mark.parametrize("error", [SamplingError("no finite start"), MemoryError("too much"), KeyError("x")])
def test_a_failure_of_one_chain_ends_all_and_is_raised(error):
    reporter = Interrupter(10, chain=1, error=error)
    n_before = threading.active_count()
    with pytest.raises(type(error)) as raised:
        run(reporter=reporter, chains=3, threads=3, iterations=100_000)
    assert raised.value is error
    assert threading.active_count() == n_before
    assert max(len(rows) for rows in reporter.rows.values()) < 50_000


def test_chains_that_wait_for_a_thread_never_begin_after_a_failure():
    error = SamplingError("no finite start")
    reporter = Interrupter(3, chain=0, error=error)
    with pytest.raises(SamplingError) as raised:
        run(reporter=reporter, chains=4, threads=1)
    assert raised.value is error
    assert set(reporter.rows) == {0}


class Unwell:
    """A likelihood that is not finite anywhere, or raises."""

    name = "unwell"

    def __init__(self, error=None):
        self.error = error

    def clone(self):
        return self

    def log_likelihood_and_gradient(self, coords):
        if self.error is not None:
            raise self.error
        return -np.inf, np.zeros_like(coords)


@pytest.mark.parametrize("approach", ["local", "global", "combined"])
def test_no_finite_start_is_a_sampling_error(approach):
    fit = prepared(deformation=approach)
    with pytest.raises(SamplingError, match="start"):
        run_chains(fit.problem, fit.stages, [Unwell()] * len(fit.stages), NullReporter())


def test_an_error_of_a_likelihood_is_passed_on():
    fit = prepared()
    error = MemoryError("no room")
    with pytest.raises(MemoryError) as raised:
        run_chains(fit.problem, fit.stages, [Unwell(error)] * len(fit.stages), NullReporter())
    assert raised.value is error


_ENDLESS = """
    import signal
    import sys
    from pathlib import Path
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored for what it starts
    sys.path.insert(0, {tests!r})
    from small_fit import run
    from bayesflex.reporters import NullReporter

    class Telling(NullReporter):
        def record(self, row):
            if row.stage == "sampling" and row.chain == 1:
                print("sampling", flush=True)

    try:
        run(Path({folder!r}), Telling(), threads=2, iterations=10**6)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(7)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_by_the_user_stops_all_chains_and_leaves_checkpoints(tmp_path):
    code = textwrap.dedent(_ENDLESS.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "sampling\n"
        deadline = time.monotonic() + 60.0
        while not (tmp_path / "chain-1.npz").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 7
    assert rest.endswith("interrupted\n")
    for chain in (1, 2):
        progress, _, kernel = load_checkpoint(tmp_path / f"chain-{chain}.npz")
        assert progress.stage == 2
        assert kernel is not None
        assert len(progress.records) >= 1 + 1 + 1 + 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain-1.npz", "chain-2.npz", "starts.npz"]


def test_an_interrupt_raised_by_a_listener_leaves_checkpoints(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Interrupter(len(run()[0].records) - 2, error=KeyboardInterrupt()))
    assert (tmp_path / "chain-1.npz").exists()
    assert_same_chains(run(tmp_path), run())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    run(folder)
    return (folder / "chain-1.npz").read_bytes()


@pytest.mark.parametrize("kept", [0, 10, 1000, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_an_error_of_the_input(kept, checkpoint, tmp_path):
    length = kept if isinstance(kept, int) else int(kept * len(checkpoint))
    (tmp_path / "chain-1.npz").write_bytes(checkpoint[:length])
    with pytest.raises(InputError, match=r"chain-1\.npz: expected a checkpoint"):
        run(tmp_path)


def test_a_checkpoint_with_wrong_bytes_is_an_error_of_the_input(checkpoint, tmp_path, rng):
    path = tmp_path / "chain-1.npz"
    for _ in range(40):
        damaged = bytearray(checkpoint)
        at = int(rng.integers(len(damaged) - 30))
        damaged[at : at + 30] = rng.bytes(30)
        path.write_bytes(bytes(damaged))
        # Bytes of the archive's directory that nobody reads may be anything.
        with suppress(InputError):
            load_checkpoint(path)


@pytest.mark.parametrize("content", ["array", "text", "other archive"])
def test_another_file_is_no_checkpoint(content, tmp_path):
    path = tmp_path / "chain-1.npz"
    if content == "text":
        path.write_text("not an archive")
    else:
        with path.open("wb") as file:
            np.save(file, np.zeros(3)) if content == "array" else np.savez(file, draws=np.zeros(3))
    with pytest.raises(InputError, match="expected a checkpoint"):
        run(tmp_path)


def test_a_checkpoint_that_cannot_be_written_is_an_error_of_the_input(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        run(tmp_path / "no such folder")


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    """The old file is replaced only by a whole new one."""
    run(tmp_path, iterations=8)
    before = (tmp_path / "chain-1.npz").read_bytes()

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="No space left"):
        run(tmp_path)
    assert (tmp_path / "chain-1.npz").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain-1.npz", "chain-2.npz", "starts.npz"]


def test_threads():
    config = prepared().config
    assert thread_count(replace(config, threads=3)) == 3
    assert 1 <= thread_count(replace(config, threads=0)) <= (os.cpu_count() or 1)


def test_stages_have_likelihoods_of_their_own():
    """A blurred stage weighs the map less, so that its log likelihood changes less along a motion."""
    fit = prepared()
    start = fit.problem.start
    moved = start + 3.0 * np.sqrt(len(start)) * fit.problem.mode_vectors[0]
    changes = [
        abs(each.log_likelihood_and_gradient(moved)[0] - each.log_likelihood_and_gradient(start)[0])
        for each in likelihoods()
    ]
    assert len(changes) == 3
    assert changes == sorted(changes)


def overlap_of(likelihood):
    return type(getattr(likelihood, "likelihood", likelihood).overlap).__name__


def test_each_stage_is_evaluated_as_the_configuration_says():
    fit = prepared()
    assert fit.config.evaluation == fit.problem.config.evaluation == "pairs"
    n = len(fit.stages)
    listed = ",".join(["grid"] * (n - 1) + ["pairs"])
    problem = replace(fit.problem, config=replace(fit.config, evaluation=listed))
    made = [overlap_of(one) for one in stage_likelihoods(problem, fit.stages)]
    assert made == ["GridOverlap"] * (n - 1) + ["PairOverlap"]
    wrong = replace(fit.problem, config=replace(fit.config, evaluation="grid," * n + "pairs"))
    with pytest.raises(ConfigError, match=f"{n}, one for each"):
        stage_evaluations(wrong, fit.stages)


def test_white_noise_is_evaluated_as_counted():
    fit = prepared(likelihood="gaussian", bead="ca")
    stages = stage_evaluations(replace(fit.problem, config=replace(fit.config, evaluation="auto")), fit.stages)
    assert set(stages) <= {"pairs", "grid"}
    assert fit.config.evaluation.split(",") == (stages if len(set(stages)) > 1 else stages[:1])
