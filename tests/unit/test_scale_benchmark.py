"""The benchmark of time against size: what it fits, what it times, and the command itself."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bayesflex import synthetic

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale_benchmark", ROOT / "benchmarks" / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_exponent_of_a_power_law_from_ten_thousand_on(scale):
    points = [{"n_ca": n, "time": 3.0 * n**1.25} for n in (10_000, 30_000, 1_000_000)]
    points += [{"n_ca": 1000, "time": 1e9}, {"n_ca": 300_000}]
    assert scale.exponent(points, "time") == pytest.approx(1.25)
    assert scale.exponent(points[:1], "time") is None


def test_rings_have_about_the_size_asked_for(scale):
    for size in (1_000, 10_000):
        assert scale.rings(size).n_atoms == pytest.approx(size, rel=0.15)


def test_what_is_timed_is_a_posterior_in_its_map(scale):
    posterior, position = scale.make_posterior(synthetic.hexamer(52).ca_trace())
    near = posterior(position)
    assert np.isfinite(near.log_density)
    # The map is that of the start: off it, the likelihood falls.
    start, away = np.zeros_like(position), position.copy()
    away[posterior.deformation.translation] = scale.FAR
    assert posterior(start).details.log_likelihood > near.details.log_likelihood
    assert near.details.log_likelihood > posterior(away).details.log_likelihood > -np.inf


def test_parts_give_times_and_memory(scale):
    ca = synthetic.hexamer(52).ca_trace()
    gradient = scale.time_gradient(ca)
    assert gradient["gradient"] > 0.0
    assert gradient["rebuild"] > 0.0
    assert gradient["held"] > 1e7
    modes = scale.time_modes(ca)
    assert modes["modes"] > modes["hessian"] > 0.0


@pytest.mark.slow
def test_command_prints_a_table_and_writes_json(tmp_path: Path):
    command = [sys.executable, "-m", "benchmarks.scale", "--largest", "1000", "--model", "rings", "-o"]
    done = subprocess.run([*command, tmp_path / "out.json"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "1,002" in done.stdout
    record = json.loads((tmp_path / "out.json").read_text())
    (point,) = record["rings"]["points"]
    assert point["peak"] >= point["held"] > point["program"] > 0.0
    assert point["modes"] > 0.0
    assert record["rings"]["exponents"]["gradient"] is None
