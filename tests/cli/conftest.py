"""A small model, its map, and the commands run on them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

from bayesflex.cli import app
from bayesflex.density_map import DensityMap
from bayesflex.io.maps import write_map
from bayesflex.io.structures import write_structure
from bayesflex.synthetic import two_domain_protein


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def _run(*arguments: object) -> Outcome:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="bayesflex")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def run() -> Callable[..., Outcome]:
    """Runs a command in this process; a defect keeps its traceback."""
    return _run


def gaussians(coords: np.ndarray, voxel: float = 3.0, margin: float = 12.0, sigma: float = 2.5) -> DensityMap:
    """A map of unit Gaussians, by the plainest of means."""
    origin = coords.min(axis=0) - margin
    size = np.ceil((np.ptp(coords, axis=0) + 2 * margin) / voxel).astype(int)
    x, y, z = (origin[axis] + voxel * np.arange(size[axis]) for axis in range(3))
    values = np.zeros((len(z), len(y), len(x)))
    for centre in coords:
        gx, gy, gz = (np.exp(-((a - c) ** 2) / (2 * sigma**2)) for a, c in zip((x, y, z), centre, strict=True))
        values += gz[:, None, None] * gy[None, :, None] * gx[None, None, :]
    return DensityMap(values.astype(np.float32), np.full(3, voxel), origin)


@pytest.fixture(scope="session")
def structure():
    """A two-domain protein of 80 residues."""
    return two_domain_protein(80)


@pytest.fixture(scope="session")
def density(structure):
    """Its map."""
    return gaussians(structure.ca_trace().coords)


@pytest.fixture(scope="session")
def files(structure, density, tmp_path_factory) -> Path:
    """A folder with ``model.cif`` and ``map.mrc``, for reading alone."""
    folder = tmp_path_factory.mktemp("inputs")
    write_structure(structure, folder / "model.cif")
    write_map(density, folder / "map.mrc")
    return folder


#: A program whose arguments are those of ``bayesflex``, with signals as a terminal has them: whatever started the tests
#: may ignore some, and what it starts would too.
HEEDS_SIGNALS = (
    sys.executable,
    "-c",
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); runpy.run_module('bayesflex', run_name='__main__')",
)


@pytest.fixture(scope="session")
def heeds_signals() -> tuple[str, ...]:
    """The program to start where a test sends a signal."""
    return HEEDS_SIGNALS
