"""Choice of modes: enough of them and not many more, a table, and a fit that goes on with what was chosen."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from displaced import displaced

import bayesflex
from bayesflex.config import FitConfig
from bayesflex.config_files import config_to_toml, load_config
from bayesflex.errors import ConfigError, InputError
from bayesflex.io.maps import write_map
from bayesflex.io.structures import write_structure
from bayesflex.reporters import ListReporter, NullReporter
from bayesflex.workflows.fit import run_fit
from bayesflex.workflows.mode_choice import (
    MODE_SCORES_FILE,
    ModeChoice,
    ModeScore,
    choose_modes,
    first_modes,
    read_mode_scores,
    write_mode_scores,
)
from bayesflex.workflows.preparation import prepare
from bayesflex.workflows.run_files import CONFIG_FILE, METRICS_FILE, SUMMARY_FILE

AUTO = FitConfig(
    resolution=8.0,
    modes=(),
    deformation="global",
    domain_motions="off",
    bead="ca",
    chains=2,
    iterations=4,
    warmup_iterations=30,
    steps=10,
    anneal=False,
    recompute_modes=False,
    threads=2,
)


def ignore(text: str) -> None:
    """Stand in for a listener."""


def score(n_modes, below=0.0, error=0.0):
    return ModeScore(n_modes, -100.0 - below, below, error, 1.5)


@pytest.mark.parametrize(("n_modes", "seed", "chosen"), [(3, 1, 4), (3, 2, 4), (8, 1, 10), (8, 2, 10)])
def test_global_takes_the_modes_that_the_map_shows_and_few_more(n_modes, seed, chosen):
    choice = choose_modes(displaced(n_modes, seed), AUTO, ignore)
    assert choice.chosen == chosen
    by_number = {one.n_modes: one for one in choice.scores}
    assert {0, 4, 10, 20} <= by_number.keys()
    # No motion at all is ruled out, and modes that hold noise alone gain next to nothing: 2 nats are chance.
    assert by_number[0].below_best > 3.0 * by_number[0].standard_error
    assert by_number[20].score < by_number[chosen].score + 2.0
    assert by_number[0].seconds == pytest.approx(0.0, abs=0.5), "nothing can move"


def test_half_maps_are_predicted_from_each_other():
    said = []
    inputs = displaced(3, 4, halves=True)
    choice = choose_modes(inputs, AUTO, said.append)
    assert choice.chosen == 4
    assert any(f"{inputs.half_maps[1].name} is predicted" in text for text in said)


def test_combined_without_need_of_modes_becomes_local_and_says_what_was_compared():
    said = []
    # With a warm-up long enough that chains without modes settle too, all sample one posterior.
    config = replace(AUTO, deformation="combined", warmup_iterations=240, steps=20)
    choice = choose_modes(displaced(3, 1), config, said.append)
    assert choice.chosen == 0
    settled = choice.applied_to(config)
    assert settled.deformation == "local"
    assert settled.modes
    assert "change how fast the chains move and not what they sample" in said[-1]
    assert "none (local)" in said[-1]


def test_no_modes_and_a_rigid_motion():
    choice = choose_modes(displaced(3, 1), replace(AUTO, rigid=True), ignore)
    assert choice.chosen == 4
    assert choice.scores[0].seconds > 0.01


def test_more_are_tried_as_long_as_the_last_are_the_best(monkeypatch):
    import bayesflex.workflows.mode_choice as module

    monkeypatch.setattr(module, "CANDIDATES", (0, 1, 2, 4))
    choice = choose_modes(displaced(8, 1), AUTO, ignore)
    assert [one.n_modes for one in choice.scores][:5] == [0, 1, 2, 4, 8]
    # Four is too few; whether eight or sixteen is taken lies within the error.
    assert choice.chosen >= 8


def test_what_is_said():
    choice = ModeChoice("global", (score(0, 40.0, 5.0), score(4, 1.0, 2.0), score(10), score(20, 2.0, 1.0)), 4)
    lines = choice.table().splitlines()
    assert lines[0].split() == ["modes", "log", "predictive", "density", "below", "the", "best", "seconds"]
    assert lines[1].split() == ["0", "-140.0", "40.0", "±", "5.0", "1.5"]
    assert lines[3].split() == ["10", "-100.0", "-", "1.5"]
    assert len({len(line) for line in lines}) == 1
    said = choice.conclusion()
    for expected in ("4 chosen", "no worse than 10", "1.0 ± 2.0 nats", "nothing but these modes can bend the model"):
        assert expected in said
    assert "predicts the held-out data best" in replace(choice, chosen=10).conclusion()


def test_a_map_that_shows_no_motion_leaves_global_with_the_fewest_and_a_warning():
    choice = ModeChoice("global", (score(0), score(4, 1.0, 2.0), score(10, 2.0, 1.0)), 0)
    assert choice.applied_to(AUTO).modes == first_modes(4)
    assert "may be noise" in choice.conclusion()
    assert "goes on with 4" in choice.conclusion()


def test_the_table_comes_back_from_its_file(tmp_path):
    choice = ModeChoice("combined", (score(0, 40.0, 5.0), score(4, 1.0, 2.0), score(10)), 4)
    path = tmp_path / MODE_SCORES_FILE
    write_mode_scores(choice, path)
    assert read_mode_scores(path, "combined") == choice
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["chosen"] for row in rows] == ["0", "1", "0"]
    assert float(rows[1]["standard_error"]) == 2.0
    path.write_text("modes\n4\n", encoding="utf-8")
    with pytest.raises(InputError, match="expected the table of mode scores"):
        read_mode_scores(path, "combined")


def test_modes_to_be_chosen_come_back_from_a_configuration_file(tmp_path):
    path = tmp_path / "fit.toml"
    path.write_text(config_to_toml(AUTO, {}, {}), encoding="utf-8")
    assert load_config(path, {}) == AUTO
    path.write_text("resolution = 8\nmodes = 'auto'\n", encoding="utf-8")
    assert load_config(path, {}).modes == ()


def test_there_is_nothing_to_choose_in_local():
    with pytest.raises(ConfigError, match=r"modes: auto .* deformation local .*--modes auto, or --deformation local"):
        replace(AUTO, deformation="local")


def test_other_tasks_ask_for_a_number():
    with pytest.raises(ConfigError, match=r"modes: auto is chosen by .*--modes 10"):
        prepare(displaced(3, 1), AUTO, ignore)


def test_a_fit_in_memory_chooses_and_keeps_the_scores(tmp_path):
    inputs = displaced(3, 1)
    listener = ListReporter()
    result = bayesflex.fit(inputs.structure, inputs.density, AUTO, reporters=(listener,))
    assert result.config.modes == first_modes(4)
    assert result.trace.mode_numbers.tolist() == [7, 8, 9, 10]
    result.save(tmp_path / "out")
    assert read_mode_scores(tmp_path / "out" / MODE_SCORES_FILE, "global") == result.mode_choice
    assert load_config(tmp_path / "out" / CONFIG_FILE, {}) == result.config


class _Interrupter(NullReporter):
    """Interrupts the fit at a message or at a stage, once."""

    def __init__(self, text=None, stage=None):
        self.text, self.stage = text, stage

    def message(self, text):
        if self.text is not None and text.startswith(self.text):
            raise KeyboardInterrupt

    def record(self, row):
        if row.stage == self.stage and row.chain == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    inputs = displaced(3, 1)
    write_structure(inputs.structure, folder / "model.cif")
    write_map(inputs.density, folder / "map.mrc")
    return folder / "model.cif", folder / "map.mrc"


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    run_fit(*files, out, AUTO)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    "interrupter",
    [_Interrupter(text="modes: 10 tried"), _Interrupter(stage="sampling")],
    ids=["while modes are chosen", "while sampling"],
)
def test_an_interrupted_choice_goes_on_as_if_nothing_had_happened(files, whole, tmp_path, interrupter):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_fit(*files, out, AUTO, reporter=interrupter)
    assert not (out / SUMMARY_FILE).exists()
    chosen_before = load_config(out / CONFIG_FILE, {}).modes
    assert chosen_before == (() if interrupter.text else first_modes(4))
    with pytest.raises(InputError, match="steps"):
        run_fit(*files, out, replace(AUTO, steps=11), resume=True)
    with pytest.raises(InputError, match=r"modes \("):
        run_fit(*files, out, replace(AUTO, modes=first_modes(6)), resume=True)
    result = run_fit(*files, out, AUTO, resume=True)
    assert result.mode_choice is not None
    assert (out / METRICS_FILE).read_text() == (whole / METRICS_FILE).read_text()
    ours, theirs = (read_mode_scores(folder / MODE_SCORES_FILE, "global") for folder in (out, whole))
    assert [replace(one, seconds=0.0) for one in ours.scores] == [replace(one, seconds=0.0) for one in theirs.scores]
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.slow
def test_the_saved_configuration_repeats_the_fit_without_choosing(files, whole, tmp_path):
    settings = load_config(whole / CONFIG_FILE, {})
    assert settings.modes == first_modes(4)
    result = run_fit(*files, tmp_path / "again", settings)
    assert result.mode_choice is None
    assert (tmp_path / "again" / METRICS_FILE).read_text() == (whole / METRICS_FILE).read_text()
