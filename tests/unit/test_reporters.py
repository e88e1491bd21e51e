"""Reporters: what they write is whole, sorted and safe under threads; what they show is the state of the fit."""

from __future__ import annotations

import csv
import io
import math
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bayesflex.errors import InputError
from bayesflex.metrics import metric_columns, metrics_table, read_metrics, write_metrics
from bayesflex.progress import ProgressReporter
from bayesflex.protocols import Record, Reporter
from bayesflex.reporters import (
    ListReporter,
    LogReporter,
    MetricsReporter,
    NullReporter,
    Reporters,
)

COLUMNS = metric_columns([7, 8], with_reference=True)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def row(chain: int, iteration: int, stage: str = "sampling", **values: float) -> Record:
    numbers = {"cc_centred": 0.5 + 0.01 * iteration, "acceptance": 0.8, "divergent": 0.0} | values
    return Record(chain, iteration, stage, numbers)


def run_in_threads(reporter: Reporter, n_chains: int, n_iterations: int) -> None:
    """Let each chain report from its own thread."""

    def chain(number: int) -> None:
        for iteration in range(n_iterations):
            reporter.record(row(number, iteration, "warmup-1" if iteration < n_iterations // 2 else "sampling"))

    threads = [threading.Thread(target=chain, args=(number,)) for number in range(n_chains)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def all_reporters(folder: Path) -> list[Reporter]:
    return [
        NullReporter(),
        ListReporter(),
        MetricsReporter(folder / "metrics.csv", COLUMNS),
        LogReporter(folder / "log.txt"),
        ProgressReporter(Console(file=io.StringIO())),
        ProgressReporter(Console(file=io.StringIO(), force_terminal=True)),
        Reporters([NullReporter(), ListReporter()]),
    ]


@pytest.mark.parametrize("index", range(7))
def test_every_reporter_takes_a_whole_fit_and_an_empty_one(index: int, tmp_path: Path) -> None:
    reporter = all_reporters(tmp_path)[index]
    reporter.message("before")
    reporter.start(2, 10)
    run_in_threads(reporter, 2, 10)
    reporter.message("with [brackets] and Å")
    reporter.finish()
    reporter.finish()
    reporter.start(1, 1)
    reporter.finish()


def test_metrics_arrive_in_any_order_and_end_sorted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    reporter = MetricsReporter(path, COLUMNS)
    reporter.start(3, 50)
    run_in_threads(reporter, 3, 50)
    reporter.record(row(3, 0, amplitude_8=1.25, not_a_column=3.0, rmsd_to_reference=math.nan))
    assert not path.exists()
    reporter.finish()
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.csv"]
    with path.open(newline="") as file:
        header, *lines = list(csv.reader(file))
    assert header == ["chain", "iteration", "stage", *COLUMNS]
    assert [(int(line[0]), int(line[1])) for line in lines] == [(c, i) for c in range(3) for i in range(50)] + [(3, 0)]
    assert lines[-1][header.index("amplitude_8")] == "1.25"
    assert lines[-1][header.index("energy")] == ""
    assert lines[-1][header.index("divergent")] == "0"


def test_a_running_fit_can_be_followed(tmp_path: Path) -> None:
    clock = Clock()
    reporter = MetricsReporter(tmp_path / "metrics.csv", COLUMNS, interval=3.0, clock=clock)
    reporter.start(1, 10)
    assert len(read_metrics(reporter.part).chain) == 0
    reporter.record(row(0, 0))
    clock.now = 3.0
    reporter.record(row(0, 1))
    assert read_metrics(reporter.part).iteration.tolist() == [0, 1]
    with reporter.part.open("a") as other:
        other.write("0,2,samp")  # a line caught while it is written
    assert read_metrics(reporter.part).iteration.tolist() == [0, 1]
    reporter.finish()
    assert not reporter.part.exists()


def test_an_interrupted_fit_leaves_its_rows(tmp_path: Path) -> None:
    reporter = MetricsReporter(tmp_path / "metrics.csv", COLUMNS)
    reporter.start(2, 100)
    reporter.record(row(1, 0))
    reporter.finish()
    reporter.record(row(0, 0))  # a straggler
    assert read_metrics(tmp_path / "metrics.csv").chain.tolist() == [1]


@pytest.mark.parametrize("reporter_type", ["metrics", "log"])
def test_a_file_that_cannot_be_written_is_named(reporter_type: str, tmp_path: Path) -> None:
    path = tmp_path / "absent" / "file"
    reporter = MetricsReporter(path, COLUMNS) if reporter_type == "metrics" else LogReporter(path)
    with pytest.raises(InputError, match=r"absent/file.* cannot be written"):
        reporter.start(1, 1)


def test_a_full_disk_stops_the_fit_with_the_name_of_the_file(tmp_path: Path) -> None:
    clock = Clock()
    reporter = MetricsReporter(tmp_path / "metrics.csv", COLUMNS, clock=clock)
    reporter.part.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"metrics\.csv\.part: cannot be written \(No space left"):
        reporter.start(1, 1)


numbers = st.floats(allow_nan=False, allow_infinity=True, width=32)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10**6), numbers), unique_by=lambda r: r[:2]))
def test_metrics_survive_the_file(tmp_path_factory: pytest.TempPathFactory, items: list) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"
    rows = [Record(chain, iteration, "warmup-1", {"energy": value}) for chain, iteration, value in items]
    write_metrics(rows, ("energy", "cc_centred"), path)
    expected, got = metrics_table(rows, ("energy", "cc_centred")), read_metrics(path)
    np.testing.assert_array_equal(got.chain, expected.chain)
    np.testing.assert_array_equal(got.iteration, expected.iteration)
    np.testing.assert_allclose(got.column("energy"), expected.column("energy"), rtol=1e-9)
    assert np.isnan(got.column("cc_centred")).all()
    assert not got.has("cc_centred")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 'chain,iteration,stage'"),
        ("a,b,c\n1,2,3\n", "begins 'a,b,c'"),
        ("chain,iteration,stage,energy\n0,0,sampling\n", "line 2 has 3 cells, expected 4"),
        ("chain,iteration,stage,energy\n0,0,sampling,much\n", "line 2 .*'much'"),
    ],
)
def test_what_is_no_metrics_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_metrics(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_metrics(tmp_path / "missing.csv")


def test_a_table_knows_its_chains_and_modes() -> None:
    rows = [row(2, 1, amplitude_12=1.0), row(0, 0, amplitude_7=2.0), row(2, 0, amplitude_12=3.0)]
    table = metrics_table(rows)
    assert table.chains == [0, 2]
    assert table.mode_numbers == [7, 12]
    assert table.of_chain(2).column("amplitude_12").tolist() == [3.0, 1.0]
    assert np.isnan(table.of_chain(2).column("amplitude_7")).all()
    with pytest.raises(InputError, match=r"no column 'rmsd'; there are .*acceptance"):
        table.column("rmsd")


def test_the_log_tells_stages_messages_and_the_end(tmp_path: Path) -> None:
    log = LogReporter(tmp_path / "log.txt")
    log.start(2, 10)
    log.message("two\nlines")
    run_in_threads(log, 2, 10)
    log.record(row(0, 10, divergent=1.0))
    log.finish()
    log.message("after the end")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  \S", line) for line in lines)
    text = [line.split("  ", 1)[1] for line in lines]
    assert text[0] == "fit begins: 2 chains of 10 iterations"
    assert text[1:3] == ["two", "lines"]
    assert sum("sampling from iteration 5" in line for line in text) == 2
    assert "chain 0: ended at iteration 10, cc_centred 0.6000, acceptance 0.80" in text[-4]
    assert "1 divergent so far" in text[-4]
    assert text[-1] == "after the end"
    LogReporter(tmp_path / "log.txt").message("resumed")
    assert (tmp_path / "log.txt").read_text().splitlines()[:-1] == lines


def test_all_reporters_are_finished_although_one_fails() -> None:
    class Failing(NullReporter):
        def finish(self) -> None:
            raise InputError("disk full")

    first, last = ListReporter(), ListReporter()
    reporters = Reporters([first, Failing(), last])
    reporters.start(1, 1)
    reporters.record(row(0, 0))
    reporters.message("text")
    with pytest.raises(InputError, match="disk full"):
        reporters.finish()
    assert (first.finished, last.finished) == (True, True)
    assert first.rows == last.rows == [row(0, 0)]
    assert first.messages == ["text"]


def test_the_list_makes_a_table_while_chains_report() -> None:
    reporter = ListReporter()
    reporter.start(4, 100)
    run_in_threads(reporter, 4, 100)
    table = reporter.table()
    assert len(table.chain) == 400
    assert table.of_chain(3).iteration.tolist() == list(range(100))


def plain_progress() -> tuple[ProgressReporter, io.StringIO, Clock]:
    text, clock = io.StringIO(), Clock()
    return ProgressReporter(Console(file=text, width=80), interval=5.0, clock=clock), text, clock


def test_plain_lines_come_at_each_stage_and_every_few_seconds() -> None:
    progress, text, clock = plain_progress()
    progress.start(2, 100)
    for iteration in range(40):
        clock.now = 1.0 + iteration
        for chain in range(2):
            progress.record(row(chain, iteration, "warmup-1" if iteration < 22 else "sampling"))
    lines = text.getvalue().splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "warmup-1, iteration 1 of 100",
        "warmup-1, iteration 5-6 of 100",
        "warmup-1, iteration 10-11 of 100",
        "warmup-1, iteration 15-16 of 100",
        "warmup-1, iteration 20-21 of 100",
        "warmup-1 to sampling, iteration 22-23 of 100",
        "sampling, iteration 27-28 of 100",
        "sampling, iteration 32-33 of 100",
        "sampling, iteration 37-38 of 100",
    ]
    assert lines[-1].endswith("cc_centred 0.8600 to 0.8700; acceptance 0.80; 1 min 03 s left")
    assert all("\x1b" not in line for line in lines)


def test_stages_are_told_in_the_order_in_which_chains_pass_them() -> None:
    """A chain that left a stage early has more stages behind it and fewer iterations."""
    progress, text, clock = plain_progress()
    progress.start(4, 100)
    for chain, (iteration, stage) in enumerate([(17, "warmup-10"), (20, "warmup-2"), (25, "sampling"), (0, "start")]):
        clock.now += 10.0
        progress.record(row(chain, iteration, stage))
    lines = [line.split(",")[0] for line in text.getvalue().splitlines()]
    assert lines == ["warmup-10", "warmup-2 to warmup-10", "warmup-2 to sampling", "start to sampling"]


def test_time_left_of_a_resumed_fit_counts_what_it_did_itself() -> None:
    progress, text, clock = plain_progress()
    progress.start(1, 1000)
    progress.record(row(0, 500))
    clock.now = 10.0
    progress.record(row(0, 539))
    # 40 iterations in 10 s, 460 to go
    assert text.getvalue().splitlines()[-1].endswith("1 min 55 s left")


def test_no_time_left_is_told_from_the_first_iterations() -> None:
    """They wait for kernels to be compiled."""
    progress, text, clock = plain_progress()
    progress.start(1, 1000)
    clock.now = 10.0
    progress.record(row(0, 9))
    assert text.getvalue().splitlines()[-1].endswith("time left unknown")


def test_messages_are_printed_as_they_are() -> None:
    progress, text, _ = plain_progress()
    progress.message("read [bold]model.pdb[/bold] " + "x" * 100)
    assert text.getvalue() == "read [bold]model.pdb[/bold] " + "x" * 100 + "\n"


@pytest.mark.parametrize("n_chains", [1, 16])
def test_a_terminal_shows_every_chain_and_the_whole(n_chains: int) -> None:
    text, clock = io.StringIO(), Clock()
    progress = ProgressReporter(Console(file=text, force_terminal=True, width=100, height=40), clock=clock)
    progress.start(n_chains, 20)
    clock.now = 10.0
    run_in_threads(progress, n_chains, 10)
    progress.record(row(0, 10, divergent=1.0, cc_centred=math.nan))
    progress.message("a message")
    progress.finish()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    last = shown[shown.rindex("chain") :].splitlines()
    assert len([line for line in last if "sampling" in line]) == n_chains
    assert last[1].split() == ["0", "sampling", "11/20", "-", "0.80", "1"]
    if n_chains > 1:
        assert last[2].split() == ["1", "sampling", "10/20", "0.5900", "0.80", "0"]
    assert f"{10 * n_chains + 1}/{20 * n_chains}" in shown
    assert "s left" in shown
    assert "a message" in shown
