"""``fit --half1 --half2``: what it takes, what it does with it, and what users get wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bayesflex.config_files import load_config, load_records
from bayesflex.io.maps import write_map
from bayesflex.noise import make_half_maps

SHORT = (
    "--chains",
    "1",
    "--iterations",
    "3",
    "--no-anneal",
    "--warmup-iterations",
    "8",
    "--modes",
    "3",
    "--bead",
    "ca",
)


@pytest.fixture(scope="module")
def inputs(files, density, tmp_path_factory):
    """A folder with the maps ``full.mrc``, ``half1.mrc``, ``half2.mrc``, and others that do not belong."""
    folder = tmp_path_factory.mktemp("halves")
    variance = float(density.values.var())
    one, two = make_half_maps(np.random.default_rng(3), density, lambda k: 0.3 * variance * np.exp(-5.0 * k))
    maps = {
        "full": density.with_values(0.5 * (one.values + two.values)),
        "half1": one,
        "half2": two,
        "shifted": replace(two, origin=two.origin + 1.0),
        "cropped": two.on_grid(two.values[:, :, 1:], two.voxel_size, two.origin),
        "mirrored": two.with_values(two.values[::-1].copy()),
    }
    for name, each in maps.items():
        write_map(each, folder / f"{name}.mrc")
    return folder


@pytest.fixture
def fit(run, files, inputs, tmp_path):
    """Runs a fit with flags, ``full.mrc`` being the map, and returns what came of it."""

    def runs(*flags: object, density="full.mrc", out="out"):
        given = [inputs / flag if str(flag).endswith(".mrc") else flag for flag in flags]
        model = files / "model.cif"
        return run("fit", model, inputs / density, "--resolution", 8, "-o", tmp_path / out, *SHORT, *given)

    return runs


def test_the_noise_is_taken_from_the_half_maps(fit, tmp_path):
    outcome = fit("--half1", "half1.mrc", "--half2", "half2.mrc")
    assert outcome.code == 0, outcome.err
    assert "half1.mrc and half2.mrc" in outcome.out
    assert "FSC 0.143" in outcome.out
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["likelihood"] == "half-maps"
    assert summary["observations"] > 50
    assert np.isfinite(summary["log_density"]["fitted"])
    assert load_config(out / "config.toml", {}).likelihood == "half-maps"
    read = load_records(out / "config.toml")["input"]
    assert {"half1_sha256", "half2_sha256"} <= read.keys()
    assert read["half1_sha256"] != read["half2_sha256"]

    # The saved settings with the same half maps: the same fit.
    again = fit("--config", out / "config.toml", "--half1", "half1.mrc", "--half2", "half2.mrc", out="again")
    assert again.code == 0, again.err
    assert (tmp_path / "again" / "metrics.csv").read_text() == (out / "metrics.csv").read_text()

    # Without them, another: the error says what is missing.
    without = fit("--config", out / "config.toml", out="without")
    assert without.code == 2
    assert "half-maps needs the two half maps" in without.err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--half1", "half1.mrc"], ["--half2: expected two half maps or none"]),
        (["--half2", "half2.mrc"], ["--half1: expected two half maps or none"]),
        (["--half1", "half1.mrc", "--half2", "missing.mrc"], ["missing.mrc"]),
        (["--half1", "half1.mrc", "--half2", "half1.mrc"], ["half1.mrc", "hold the same map"]),
        (["--half1", "full.mrc", "--half2", "half2.mrc"], ["full.mrc", "a half map hold the same map"]),
        (
            ["--half1", "half1.mrc", "--half2", "shifted.mrc"],
            ["shifted.mrc: expected a half map on the grid of full.mrc"],
        ),
        (
            ["--half1", "half1.mrc", "--half2", "cropped.mrc"],
            ["cropped.mrc: expected a half map on the grid", "Resample"],
        ),
        (["--half1", "mirrored.mrc", "--half2", "half2.mrc"], ["full.mrc: expected a map made of its two half maps"]),
        (
            ["--half1", "half1.mrc", "--half2", "half2.mrc", "--likelihood", "gaussian"],
            ["likelihood: gaussian takes the noise from --noise-sd"],
        ),
        (
            ["--half1", "half1.mrc", "--half2", "half2.mrc", "--evaluation", "grid"],
            ["evaluation: on the grid", "Leave out --evaluation grid"],
        ),
        (
            ["--half1", "half1.mrc", "--half2", "half2.mrc", "--observations", "voxels"],
            ["observations: voxels has no meaning with half maps"],
        ),
        (["--likelihood", "half-maps"], ["likelihood: half-maps needs the two half maps", "--half1"]),
    ],
)
def test_what_cannot_be(fit, tmp_path, flags, named):
    outcome = fit(*flags)
    assert outcome.code == 2
    last = outcome.err.rstrip("\n").split("\n")[-1]
    assert last.startswith("Error: ")
    for words in named:
        assert words in last
    assert not (tmp_path / "out").exists()


def test_the_map_and_a_half_map_exchanged(fit):
    outcome = fit("--half1", "full.mrc", "--half2", "half2.mrc", density="half1.mrc")
    assert outcome.code == 2
    assert "full.mrc: this half map is the average of the two other maps, half1.mrc among them" in outcome.err


def test_a_resolution_finer_than_the_half_maps_is_noticed(fit):
    outcome = fit("--half1", "half1.mrc", "--half2", "half2.mrc", "--resolution", 6)
    assert outcome.code == 0, outcome.err
    assert "half maps correlate by 0.143 up to" in " ".join(outcome.out.split())
