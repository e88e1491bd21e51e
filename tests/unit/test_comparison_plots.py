"""Figures of a comparison: what they refuse, and that they show what they are given."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from bayesflex.errors import InputError
from bayesflex.metrics import metrics_table
from bayesflex.plots.comparison import plot_compared, plot_compared_amplitudes
from bayesflex.plots.samplers import SamplerRow, plot_samplers
from bayesflex.plots.structure import plot_structures
from bayesflex.protocols import Record
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.simulate import simulate


def table(level: float, n_runs: int = 2):
    rows = []
    for run in range(n_runs):
        for iteration in range(5):
            stage = "start" if iteration == 0 else "adapting" if iteration < 3 else "sampling"
            values = {"cc_uncentred": level + 0.01 * run + 0.1 * iteration, "amplitude_7": level, "amplitude_9": -level}
            rows.append(Record(run, iteration, stage, values))
    return metrics_table(rows)


def image(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="raw", dpi=60)
    return buffer.getvalue()


def test_the_mean_over_the_runs_is_drawn_for_each_approach():
    figure = plot_compared({"local": table(0.1), "combined": table(0.3)}, ("cc_uncentred",))
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 5]
    assert len(lines) == 2
    assert np.allclose(lines[0].get_ydata(), 0.105 + 0.1 * np.arange(5))
    assert np.allclose(lines[1].get_ydata(), 0.305 + 0.1 * np.arange(5))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["local", "combined"]
    assert "2 runs" in labels[2]


def test_there_is_a_panel_for_each_mode():
    figure = plot_compared_amplitudes({"global": table(0.5), "floor": table(0.1)})
    assert [axis.get_title() for axis in figure.axes] == ["mode 7", "mode 9"]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="at least one approach"):
        plot_compared({}, ("cc_uncentred",))
    with pytest.raises(InputError, match="rmsd_to_reference"):
        plot_compared({"local": table(0.1)}, ("rmsd_to_reference",))
    with pytest.raises(InputError, match="no mode amplitudes"):
        plot_compared_amplitudes({"local": metrics_table([Record(0, 0, "start", {"energy": 0.0})])})
    with pytest.raises(InputError, match="at least one kernel"):
        plot_samplers([])


def test_a_kernel_s_bars_are_its_effective_draws_per_thousand_gradients():
    figure = plot_samplers([SamplerRow("hmc", 50.0, 100.0, 1.0, 10_000, 0.8, -5.0)])
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == pytest.approx([5.0, 10.0])


@pytest.fixture(scope="module")
def model():
    closed, opened = two_domain_pair(60)
    return closed.ca_trace(), opened.ca_trace(), simulate(opened, resolution=8.0)


def test_structures_are_seen_from_two_sides_with_a_part_in_another_colour(model):
    ca, other, density = model
    marked = ca.residue_number <= 20
    figure = plot_structures(density, ca, {"initial": ca.coords, "fitted": other.coords}, marked)
    assert len(figure.axes) == 4
    assert [axis.get_title() for axis in figure.axes[:2]] == ["initial", "fitted"]
    (lines,) = [item for item in figure.axes[0].collections if isinstance(item, LineCollection)]
    assert len(lines.get_segments()) == ca.n_atoms - 1
    # Orange is redder than it is blue, and the other colour is not.
    orange = lines.get_colors()[:, 0] > lines.get_colors()[:, 2]
    assert np.count_nonzero(orange) == 20


def test_the_picture_shows_the_map_s_surface_where_it_is(model):
    ca, _, density = model
    figure = plot_structures(density, ca, {"initial": ca.coords}, np.zeros(ca.n_atoms, dtype=bool))
    (surface,) = figure.axes[0].get_images()
    opacity = np.asarray(surface.get_array())[..., 3]
    assert opacity[[0, -1]].max() == 0.0  # room around the model
    assert opacity[:, [0, -1]].max() == 0.0
    assert 0.1 < np.mean(opacity > 0.2) < 0.9


def test_the_same_picture_comes_out_twice(model):
    ca, _, density = model
    none = np.zeros(ca.n_atoms, dtype=bool)
    first, second = (image(plot_structures(density, ca, {"a": ca.coords}, none)) for _ in range(2))
    assert first == second


def test_a_trace_of_another_model_is_refused(model):
    ca, _, density = model
    with pytest.raises(InputError, match="60 finite positions"):
        plot_structures(density, ca, {"a": ca.coords[:-1]}, np.zeros(ca.n_atoms, dtype=bool))
    with pytest.raises(InputError, match="at least one trace"):
        plot_structures(density, ca, {}, np.zeros(ca.n_atoms, dtype=bool))
