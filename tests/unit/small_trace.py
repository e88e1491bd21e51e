"""Traces made of arrays, for the tests of what is said about them."""

from __future__ import annotations

import numpy as np

from bayesflex.trace import Trace


def make_trace(coords: np.ndarray, **changes: np.ndarray) -> Trace:
    """A trace with these coordinates; log density and amplitude are their sums."""
    n_chains, n_draws, n_ca, _ = coords.shape
    parts = {
        "lp": coords.sum(axis=(2, 3)),
        "amplitudes": coords.sum(axis=(2, 3))[..., np.newaxis],
        "diverging": np.zeros((n_chains, n_draws), dtype=bool),
        "energy": np.random.default_rng(1).normal(size=(n_chains, n_draws)),
    } | changes
    return Trace(
        coords=coords,
        amplitudes=parts["amplitudes"],
        mode_numbers=np.arange(7, 7 + parts["amplitudes"].shape[2]),
        residues=np.array([f"A {number}" for number in range(1, n_ca + 1)]),
        sample_stats={name: parts[name] for name in ("lp", "diverging", "energy", "cc_centred") if name in parts},
        log_likelihood=parts["lp"],
        potential_energy=parts["lp"],
    )
