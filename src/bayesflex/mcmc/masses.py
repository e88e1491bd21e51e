"""Momentum distributions: how heavy each direction of the flat vector is.

A mass matrix M shapes how fast a chain moves and never what it samples. It has
nothing to do with the masses of atoms. With the inverse mass close to the
covariance of the target, all directions move at the same pace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.random import Generator
from scipy.linalg import cholesky_banded, solve_triangular

from bayesflex.compiling import KERNEL, PART
from bayesflex.errors import ConfigError
from bayesflex.protocols import Array


class Mass(Protocol):
    """A zero-mean Gaussian over momenta p, shape (n_dim,), with covariance M."""

    @property
    def n_dim(self) -> int:
        """Length of the momenta."""
        ...

    def draw(self, rng: Generator) -> Array:
        """Return a new p ~ N(0, M), shape (n_dim,)."""
        ...

    def velocity(self, momentum: Array, out: Array | None = None) -> Array:
        """Return M⁻¹ p, shape (n_dim,); in ``out`` where given, which must not overlap the momentum."""
        ...

    def kinetic(self, momentum: Array) -> float:
        """Return ½ pᵀ M⁻¹ p, in nats."""
        ...


@dataclass(frozen=True, eq=False)
class DiagonalMass:
    """Independent momenta.

    Parameters
    ----------
    mass
        Diagonal of M, shape (n_dim,), positive.

    Raises
    ------
    ConfigError
        If the array has another shape or an element is not positive and finite.
    """

    mass: Array
    _inverse: Array = field(init=False, repr=False)
    _root: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mass = np.array(self.mass, dtype=np.float64)
        if mass.ndim != 1 or mass.size == 0:
            raise ConfigError(
                f"mass: expected a diagonal of shape (n_dim,), got {mass.shape}; "
                "for one value in every direction use DiagonalMass.uniform"
            )
        if not (np.isfinite(mass) & (mass > 0.0)).all():
            raise ConfigError(f"mass: expected positive finite values, got a smallest one of {mass.min()}")
        object.__setattr__(self, "mass", mass)
        object.__setattr__(self, "_inverse", 1.0 / mass)
        object.__setattr__(self, "_root", np.sqrt(mass))

    @classmethod
    def uniform(cls, n_dim: int, mass: float = 1.0) -> DiagonalMass:
        """Return the same mass in each of ``n_dim`` directions."""
        return cls(np.full(n_dim, mass, dtype=np.float64))

    @property
    def n_dim(self) -> int:
        """Length of the momenta."""
        return self.mass.size

    def draw(self, rng: Generator) -> Array:
        """Return a new p ~ N(0, M), shape (n_dim,)."""
        momentum = rng.standard_normal(self.n_dim)
        momentum *= self._root
        return momentum

    def velocity(self, momentum: Array, out: Array | None = None) -> Array:
        """Return M⁻¹ p, shape (n_dim,); in ``out`` where given."""
        return np.multiply(momentum, self._inverse, out=out)

    def kinetic(self, momentum: Array) -> float:
        """Return ½ pᵀ M⁻¹ p, in nats."""
        return _half_dot(momentum, self.velocity(momentum))


@dataclass(frozen=True, eq=False)
class DenseMass:
    """Correlated momenta of a block small enough for a full matrix.

    Parameters
    ----------
    inverse_mass
        M⁻¹, shape (n_dim, n_dim), symmetric and positive definite: the (estimated) covariance of the
        positions.

    Raises
    ------
    ConfigError
        If the matrix is not square, not symmetric, or not positive definite.
    """

    inverse_mass: Array
    _root: Array = field(init=False, repr=False)  # L⁻ᵀ, with L Lᵀ = M⁻¹ and L lower triangular

    def __post_init__(self) -> None:
        inverse_mass = np.array(self.inverse_mass, dtype=np.float64, order="C")
        if inverse_mass.ndim != 2 or inverse_mass.shape[0] != inverse_mass.shape[1] or inverse_mass.size == 0:
            raise ConfigError(f"inverse_mass: expected a matrix of shape (n_dim, n_dim), got {inverse_mass.shape}")
        if not np.isfinite(inverse_mass).all():
            raise ConfigError("inverse_mass: expected finite elements, got NaN or infinity")
        if not np.allclose(inverse_mass, inverse_mass.T, rtol=1e-8, atol=1e-12 * np.abs(inverse_mass).max()):
            raise ConfigError("inverse_mass: expected a symmetric matrix; symmetrise it as (C + C.T) / 2")
        try:
            factor = np.linalg.cholesky(inverse_mass)
        except np.linalg.LinAlgError:
            raise ConfigError(
                "inverse_mass: expected a positive definite matrix; add a small multiple of the identity, "
                "or estimate the covariance from more draws than dimensions"
            ) from None
        object.__setattr__(self, "inverse_mass", inverse_mass)
        root = solve_triangular(factor, np.eye(len(factor)), lower=True, trans="T", check_finite=False)
        object.__setattr__(self, "_root", root)

    @property
    def n_dim(self) -> int:
        """Length of the momenta."""
        return len(self.inverse_mass)

    def draw(self, rng: Generator) -> Array:
        """Return a new p ~ N(0, M), shape (n_dim,): p = L⁻ᵀ ξ, so that Cov(p) = (L Lᵀ)⁻¹ = M."""
        return np.asarray(self._root @ rng.standard_normal(self.n_dim))

    def velocity(self, momentum: Array, out: Array | None = None) -> Array:
        """Return M⁻¹ p, shape (n_dim,); in ``out`` where given."""
        return np.dot(self.inverse_mass, momentum, out=out)

    def kinetic(self, momentum: Array) -> float:
        """Return ½ pᵀ M⁻¹ p, in nats."""
        return _half_dot(momentum, self.velocity(momentum))


#: Bandwidth for which solving keeps all that it needs in registers: that of beads in space bonded over three bonds.
_CHAIN_BANDWIDTH = 11


class BandSolver(NamedTuple):
    """M = L̂ D L̂ᵀ, the diagonal of L̂ being 1: solving takes no division. The nearest neighbour comes last."""

    rows: Array  # L̂[j, j - bandwidth + k] in row j, column k, (n_dim, bandwidth)
    columns: Array  # L̂[j + bandwidth - k, j]
    inverse: Array  # 1 / D, (n_dim,)


def _band_solver(factor: Array) -> BandSolver:
    """Return what solving needs of a Cholesky factor (n, bandwidth + 1), with L[j + k, j] in row j, column k."""
    n, bandwidth = len(factor), max(factor.shape[1] - 1, _CHAIN_BANDWIDTH)
    rows, columns = np.zeros((n, bandwidth)), np.zeros((n, bandwidth))
    for k in range(1, min(factor.shape[1], n)):
        scaled = factor[: n - k, k] / factor[: n - k, 0]
        columns[: n - k, bandwidth - k] = scaled
        rows[k:, bandwidth - k] = scaled
    return BandSolver(rows, columns, 1.0 / factor[:, 0] ** 2)


@njit(**PART)
def _eleven(value, c, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11):  # type: ignore[no-untyped-def]
    """Return value - Σ c x. Only the last product waits for the number found just before."""
    near = ((value - c[0] * x1) - c[1] * x2) - c[2] * x3
    far = -c[3] * x4 - c[4] * x5 - c[5] * x6 - c[6] * x7
    return near + far - c[7] * x8 - c[8] * x9 - c[9] * x10 - c[10] * x11


@njit(**KERNEL, fastmath={"contract"})
def solve_band(band, vector, out):  # type: ignore[no-untyped-def]
    """Set out to the solution x of M x = vector."""
    rows, columns, inverse = band.rows, band.columns, band.inverse
    n, width = rows.shape
    if width == _CHAIN_BANDWIDTH:
        x1 = x2 = x3 = x4 = x5 = x6 = x7 = x8 = x9 = x10 = x11 = 0.0
        for j in range(n):
            x = _eleven(vector[j], rows[j], x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11)
            out[j] = x
            x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11 = x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x
        x1 = x2 = x3 = x4 = x5 = x6 = x7 = x8 = x9 = x10 = x11 = 0.0
        for j in range(n - 1, -1, -1):
            x = _eleven(out[j] * inverse[j], columns[j], x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11)
            out[j] = x
            x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11 = x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x
        return
    for j in range(n):
        value = vector[j]
        for k in range(max(width - j, 0), width):
            value -= rows[j, k] * out[j - width + k]
        out[j] = value
    for j in range(n - 1, -1, -1):
        value = out[j] * inverse[j]
        for k in range(max(width - (n - 1 - j), 0), width):
            value -= columns[j, k] * out[j + width - k]
        out[j] = value


@njit(**KERNEL)
def _banded_product_kernel(factor, vector, out):  # type: ignore[no-untyped-def]
    """Set out to L vector."""
    n, width = factor.shape
    out[:] = 0.0
    for j in range(n):
        for k in range(min(width, n - j)):
            out[j + k] += factor[j, k] * vector[j]


@dataclass(frozen=True, eq=False)
class BandedMass:
    """Momenta correlated along a chain: M is banded, and so is its factor.

    Parameters
    ----------
    band
        Lower band of M, shape (bandwidth + 1, n_dim): row k holds M[j + k, j] at column j (the form of LAPACK); what
        lies beyond the matrix does not count.

    Raises
    ------
    ConfigError
        If the matrix is not positive definite.
    """

    band: Array
    _factor: Array = field(init=False, repr=False)  # (n_dim, bandwidth + 1)
    solver: BandSolver = field(init=False, repr=False)

    def __post_init__(self) -> None:
        band = np.array(self.band, dtype=np.float64)
        if band.ndim != 2 or band.size == 0:
            raise ConfigError(f"band: expected the lower band of M, shape (bandwidth + 1, n_dim), got {band.shape}")
        try:
            factor = cholesky_banded(band, lower=True)
        except (np.linalg.LinAlgError, ValueError) as error:
            raise ConfigError(f"band: expected a positive definite matrix ({error}); add to its diagonal") from None
        object.__setattr__(self, "band", band)
        object.__setattr__(self, "_factor", np.ascontiguousarray(factor.T))
        object.__setattr__(self, "solver", _band_solver(self._factor))

    @property
    def n_dim(self) -> int:
        """Length of the momenta."""
        return self.band.shape[1]

    def draw(self, rng: Generator) -> Array:
        """Return a new p ~ N(0, M), shape (n_dim,): p = L ξ."""
        momentum = np.empty(self.n_dim)
        _banded_product_kernel(self._factor, rng.standard_normal(self.n_dim), momentum)
        return momentum

    def velocity(self, momentum: Array, out: Array | None = None) -> Array:
        """Return M⁻¹ p, shape (n_dim,); in ``out`` where given."""
        velocity = np.empty(self.n_dim) if out is None else out
        solve_band(self.solver, momentum, velocity)
        return velocity

    def kinetic(self, momentum: Array) -> float:
        """Return ½ pᵀ M⁻¹ p, in nats."""
        return _half_dot(momentum, self.velocity(momentum))


@dataclass(frozen=True, eq=False)
class BlockMass:
    """Independent blocks, each with its own momentum distribution: mode amplitudes, displacements, rigid part.

    Parameters
    ----------
    blocks
        Pairs of (slice of the flat vector, mass of that block). The slices follow one another from 0 to
        n_dim without a gap.

    Raises
    ------
    ConfigError
        If the slices leave a gap or overlap, or a block's mass has another length than its slice.
    """

    blocks: Sequence[tuple[slice, Mass]]

    def __post_init__(self) -> None:
        blocks = tuple(self.blocks)
        if not blocks:
            raise ConfigError("blocks: expected at least one pair of (slice, mass), got none")
        end = 0
        for part, mass in blocks:
            if part.start != end or part.step not in (None, 1) or part.stop != end + mass.n_dim:
                raise ConfigError(
                    f"blocks: expected slice({end}, {end + mass.n_dim}) for the next block of {mass.n_dim} "
                    f"dimensions, got {part}; list the blocks in order, without gaps"
                )
            end = part.stop
        object.__setattr__(self, "blocks", blocks)

    @property
    def n_dim(self) -> int:
        """Length of the momenta."""
        return sum(mass.n_dim for _, mass in self.blocks)

    def draw(self, rng: Generator) -> Array:
        """Return a new p ~ N(0, M), shape (n_dim,)."""
        return np.concatenate([mass.draw(rng) for _, mass in self.blocks])

    def velocity(self, momentum: Array, out: Array | None = None) -> Array:
        """Return M⁻¹ p, shape (n_dim,); in ``out`` where given."""
        velocity = np.empty(self.n_dim) if out is None else out
        for part, mass in self.blocks:
            mass.velocity(momentum[part], out=velocity[part])
        return velocity

    def kinetic(self, momentum: Array) -> float:
        """Return ½ pᵀ M⁻¹ p, in nats."""
        return sum(mass.kinetic(momentum[part]) for part, mass in self.blocks)


def _half_dot(momentum: Array, velocity: Array) -> float:
    # NumPy's own pairwise sum: BLAS splits long dot products by its number of threads, which would make
    # the last bits of a chain depend on the machine's load settings.
    return 0.5 * float(np.add.reduce(momentum * velocity))
