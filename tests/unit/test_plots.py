"""Figures: every row of the table draws any fit, legibly, and saves the same bytes twice."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayesflex.errors import InputError
from bayesflex.metrics import MetricsTable, metric_columns, metrics_table
from bayesflex.plots import PLOTS, plot_amplitudes, plot_correlation, plot_energy, plot_rmsd, save_figure
from bayesflex.plots.style import MEAN_COLOUR, Stage, chain_colours, stages_of
from bayesflex.protocols import Record

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def fit(n_chains: int, n_modes: int, stages: list[str], seed: int = 1) -> MetricsTable:
    rng = np.random.default_rng(seed)
    columns = metric_columns(range(7, 7 + n_modes), with_reference=True)
    return metrics_table(
        Record(chain, iteration, stage, dict(zip(columns, rng.random(len(columns)), strict=True)) | {"divergent": 0.0})
        for chain in range(n_chains)
        for iteration, stage in enumerate(stages)
    )


SCHEDULE = ["start"] + ["warmup-1"] * 10 + ["warmup-2"] * 8 + ["sampling"] * 12


def drawn_lines(axis: Axes) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]


def visible_texts(figure: Figure) -> list[tuple[str, mpl.transforms.Bbox]]:
    """Every text that is shown, tick labels and legend included, with its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    never_drawn = set()  # labels of ticks beyond the ends of their axis, and everything in hidden axes
    for axes in figure.axes:
        if not axes.get_visible():
            never_drawn |= {id(text) for text in axes.findobj(mpl.text.Text)}
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            beyond = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
            never_drawn |= {id(text) for tick in beyond for text in (tick.label1, tick.label2)}
    shown = [text for text in figure.findobj(mpl.text.Text) if id(text) not in never_drawn]
    return [
        (text.get_text(), text.get_window_extent(renderer)) for text in shown if text.get_visible() and text.get_text()
    ]


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize(
    ("n_chains", "n_modes", "stages"),
    [
        (1, 1, SCHEDULE),
        (4, 10, SCHEDULE),
        (2, 5, ["sampling"]),
        (16, 3, ["start", *["warmup-1"] * 3, *["warmup-2"] * 3, *["sampling"] * 200]),
        pytest.param(16, 20, SCHEDULE, marks=pytest.mark.slow),
    ],
)
def test_texts_lie_inside_the_figure_and_never_over_each_other(
    name: str, n_chains: int, n_modes: int, stages: list[str]
) -> None:
    table = fit(n_chains, n_modes, stages)
    assert PLOTS[name].applies_to(table)
    figure = PLOTS[name](table)
    texts = visible_texts(figure)
    assert {"iteration", "chain 0", f"chain {n_chains - 1}"} <= {text for text, _ in texts}
    for text, box in texts:
        # Tick labels may be centred on the very corner of the axes.
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
    for (first, a), (second, b) in itertools.combinations(texts, 2):
        overlap = (min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0))
        assert min(overlap) <= 1, f"{first!r} lies over {second!r}"


@pytest.mark.parametrize("name", PLOTS)
def test_a_saved_figure_is_the_same_byte_for_byte(name: str, tmp_path: Path) -> None:
    table = fit(2, 2, SCHEDULE)
    for copy in ("one", "two"):
        save_figure(PLOTS[name](table), tmp_path / f"{copy}.png")
    data = (tmp_path / "one.png").read_bytes()
    assert data.startswith(PNG_SIGNATURE)
    assert data == (tmp_path / "two.png").read_bytes()
    assert b"Software" not in data
    assert sorted(item.name for item in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_global_settings_are_left_alone(tmp_path: Path) -> None:
    names = [name for name in mpl.rcParams if name != "backend"]  # chosen by matplotlib when it is first looked up
    before = [mpl.rcParams[name] for name in names]
    for name, plot in PLOTS.items():
        save_figure(plot(fit(2, 2, SCHEDULE)), tmp_path / f"{name}.png")
    assert [mpl.rcParams[name] for name in names] == before
    code = "import sys, bayesflex.plots; print('matplotlib.pyplot' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_each_chain_and_their_mean_are_drawn_from_the_table() -> None:
    table = fit(3, 1, SCHEDULE)
    axis = plot_correlation(table).axes[0]
    lines = drawn_lines(axis)
    for chain in range(3):
        values = table.of_chain(chain).column("cc_centred").tolist()
        assert (list(range(len(SCHEDULE))), values) in lines
    (mean,) = [line for line in axis.lines if line.get_color() == MEAN_COLOUR]
    expected = np.mean([table.of_chain(chain).column("cc_centred") for chain in range(3)], axis=0)
    np.testing.assert_allclose(mean.get_ydata(), expected)


def test_the_mean_ends_where_the_first_chain_ended() -> None:
    whole = fit(3, 1, SCHEDULE)
    kept = ~((whole.chain == 1) & (whole.iteration > 20))
    values = {name: column[kept] for name, column in whole.values.items()}
    table = MetricsTable(whole.chain[kept], whole.iteration[kept], whole.stage[kept], values)
    (mean,) = [line for line in plot_rmsd(table).axes[0].lines if line.get_color() == MEAN_COLOUR]
    assert list(mean.get_xdata()) == list(range(21))


def test_divergent_iterations_are_marked_where_they_happened() -> None:
    table = fit(2, 1, SCHEDULE)
    divergent = table.values["divergent"].copy()
    divergent[(table.chain == 1) & np.isin(table.iteration, [4, 20])] = 1.0
    table = replace(table, values={**table.values, "divergent": divergent})
    for figure, name in [(plot_energy(table), "energy"), (plot_amplitudes(table), "amplitude_7")]:
        values = table.of_chain(1).column(name)[[4, 20]].tolist()
        assert ([4, 20], values) in drawn_lines(figure.axes[0])
        assert "divergent" in [text for text, _ in visible_texts(figure)]
    assert "divergent" not in [text for text, _ in visible_texts(plot_energy(fit(2, 1, SCHEDULE)))]


def test_a_cold_start_does_not_flatten_the_energy() -> None:
    table = fit(2, 1, ["start"] + ["warmup-1"] * 100 + ["sampling"] * 100)
    energy = table.column("energy").copy()
    energy[table.iteration == 0] = 1e6
    density = table.column("log_density").copy()
    density[table.iteration == 0] = -np.inf
    figure = plot_energy(replace(table, values={**table.values, "energy": energy, "log_density": density}))
    for axis in figure.axes:
        low, high = axis.get_ylim()
        assert low < 0.02
        assert 0.98 < high < 3.0


def test_the_start_of_an_rmsd_is_always_shown() -> None:
    table = fit(2, 1, ["start"] + ["sampling"] * 200)
    rmsd = table.column("rmsd_to_reference").copy()
    rmsd[table.iteration == 0] = 15.9
    figure = plot_rmsd(replace(table, values={**table.values, "rmsd_to_reference": rmsd}))
    assert figure.axes[0].get_ylim()[0] == 0.0
    assert figure.axes[0].get_ylim()[1] > 15.9


def test_constant_values_and_infinities_can_be_drawn() -> None:
    table = fit(2, 1, SCHEDULE)
    constant = {name: np.full(len(table.chain), 2.5) for name in table.values}
    constant["energy"][3] = np.inf
    constant["cc_centred"][5] = np.nan
    for plot in PLOTS.values():
        visible_texts(plot(replace(table, values=constant)))


def test_stages_run_from_the_first_chain_to_enter_them() -> None:
    assert stages_of(fit(2, 1, SCHEDULE)) == [
        Stage("warmup-1", 0, 11),
        Stage("warmup-2", 11, 19),
        Stage("sampling", 19, 31),
    ]
    assert stages_of(fit(1, 1, ["start"])) == [Stage("start", 0, 1)]
    assert stages_of(metrics_table([])) == []


def test_warm_ups_of_different_lengths_are_one_stage() -> None:
    rows = [
        Record(chain, iteration, stage, {"cc_centred": 0.5})
        for chain, stages in enumerate(
            (["start", "warmup-1", "warmup-2", "sampling"], ["start", "warmup-1", *3 * ["sampling"]])
        )
        for iteration, stage in enumerate(stages)
    ]
    assert stages_of(metrics_table(rows)) == [Stage("warm-up", 0, 3), Stage("sampling", 3, 5)]


@pytest.mark.parametrize("n_chains", [1, 4, 6, 7, 16, 40])
def test_every_chain_has_a_colour_of_its_own(n_chains: int) -> None:
    colours = chain_colours(n_chains)
    assert len(set(colours)) == len(colours) == n_chains
    assert MEAN_COLOUR not in colours


def test_a_figure_without_its_data_is_refused_and_known_beforehand() -> None:
    table = fit(1, 0, SCHEDULE)
    values = {name: column for name, column in table.values.items() if not name.startswith(("rmsd", "cc_", "energy"))}
    table = replace(table, values=values)
    for plot in PLOTS.values():
        assert not plot.applies_to(table)
        with pytest.raises(InputError, match="figure: the metrics have no"):
            plot(table)


def test_a_figure_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent/cc\.png"):
        save_figure(plot_rmsd(fit(1, 1, SCHEDULE)), tmp_path / "absent" / "cc.png")
