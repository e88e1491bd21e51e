"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no defect, and a run that fails must fail again when it is repeated.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

_DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real structures and maps; skips where it is absent, fails where CI requires it."""
    path = Path(os.environ.get("BAYESFLEX_DATA", _DEFAULT_DATA))
    if not (path / "README.md").is_file():
        reason = f"reference data not found at {path} (set BAYESFLEX_DATA to its folder)"
        if os.environ.get("BAYESFLEX_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def cctbx() -> None:
    """Skips where cctbx-base (the extra "validation") is not installed, fails where CI requires what tests need."""
    if find_spec("mmtbx") is None:
        reason = "cctbx-base is not installed (pip install 'bayesflex[validation]')"
        if os.environ.get("BAYESFLEX_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, new for each test."""
    return np.random.default_rng(20211)
