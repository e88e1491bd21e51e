"""Densities that can be drawn from exactly, and posteriors made of them, for the checks of the sampling kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from bayesflex.deformation import Deformation
from bayesflex.posterior import Posterior
from bayesflex.protocols import Evaluation
from bayesflex.units import thermal_energy


def random_rotation(n_dim, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n_dim, n_dim)))[0]


class Mixture:
    """Σ w N(m, s²) in one dimension, with the methods of a distribution of SciPy that the checks use."""

    def __init__(self, weights, means, deviations):
        self.weights, self.means, self.deviations = (np.asarray(values) for values in (weights, means, deviations))
        grid = np.linspace((self.means - 8 * self.deviations).min(), (self.means + 8 * self.deviations).max(), 20_001)
        self._grid, self._below = grid, self.cdf(grid)

    def cdf(self, x):
        return stats.norm.cdf((np.asarray(x)[..., None] - self.means) / self.deviations) @ self.weights

    def ppf(self, level):
        return float(np.interp(level, self._below, self._grid))

    def mean(self):
        return float(self.weights @ self.means)

    def var(self):
        return float(self.weights @ (self.deviations**2 + self.means**2) - self.mean() ** 2)

    def draw(self, rng, n_draws):
        which = rng.choice(len(self.weights), n_draws, p=self.weights)
        return rng.normal(self.means[which], self.deviations[which])

    def log_density_and_slope(self, x):
        exponents = np.log(self.weights / self.deviations) - 0.5 * ((x - self.means) / self.deviations) ** 2
        highest = exponents.max()
        parts = np.exp(exponents - highest)
        slope = parts @ (-(x - self.means) / self.deviations**2) / parts.sum()
        return highest + np.log(parts.sum()), slope


class Bimodal:
    """A mixture of two normal densities along one direction, normal densities along those at right angles to it."""

    along = Mixture([0.35, 0.65], [-1.8, 1.4], [0.7, 1.0])
    n_dim = 6

    def __init__(self):
        self.rotation = random_rotation(self.n_dim, 1)
        self.across = np.geomspace(0.5, 2.0, self.n_dim - 1)

    def __call__(self, position):
        inner = self.rotation @ position
        log_density, slope = self.along.log_density_and_slope(inner[0])
        pull = np.concatenate([[slope], -inner[1:] / self.across**2])
        log_density -= 0.5 * np.sum((inner[1:] / self.across) ** 2)
        return Evaluation(float(log_density), self.rotation.T @ pull)

    def draw(self, rng, n_draws):
        across = self.across * rng.standard_normal((n_draws, self.n_dim - 1))
        return np.column_stack([self.along.draw(rng, n_draws), across]) @ self.rotation

    def standardised(self, draws):
        inner = draws @ self.rotation.T
        across = inner[:, 1:] / self.across
        normal = [(column, stats.norm()) for column in across.T]
        return [(inner[:, 0], self.along), (np.sum(across**2, axis=1), stats.chi2(self.n_dim - 1)), *normal]


class Funnel:
    """v ~ N(0, s²) and five x | v ~ N(0, exp(v)): wide above, narrow below (Neal 2003, with a smaller s)."""

    spread = 0.8
    n_dim = 6

    def __init__(self):
        self.rotation = random_rotation(self.n_dim, 2)

    def __call__(self, position):
        v, *x = self.rotation @ position
        x = np.array(x)
        with np.errstate(over="ignore"):
            pull = x * np.exp(-v)
        square = float(x @ pull)
        log_density = -0.5 * ((v / self.spread) ** 2 + x.size * v + square)
        slope = -v / self.spread**2 - 0.5 * x.size + 0.5 * square
        return Evaluation(log_density, self.rotation.T @ np.concatenate([[slope], -pull]))

    def draw(self, rng, n_draws):
        v = self.spread * rng.standard_normal(n_draws)
        x = np.exp(0.5 * v)[:, None] * rng.standard_normal((n_draws, self.n_dim - 1))
        return np.column_stack([v, x]) @ self.rotation

    def standardised(self, draws):
        inner = draws @ self.rotation.T
        v, x = inner[:, 0], inner[:, 1:]
        scaled = x * np.exp(-0.5 * v)[:, None]
        normal = [(column, stats.norm()) for column in scaled.T]
        return [
            (v, stats.norm(0.0, self.spread)),
            (np.sum(scaled**2, axis=1), stats.chi2(self.n_dim - 1)),
            *normal,
        ]


#: The densities are those of beads that move by some tenths of an Å, as the bonds of a chain let them.
UNIT = 0.3


@dataclass(frozen=True, eq=False)
class DensityTerm:
    """Energy −k_B T log π of the coordinates, flattened, in units of ``UNIT``."""

    density: object
    name: str = "density"

    def clone(self):
        return self

    def energy_and_gradient(self, coords):
        gradient = np.zeros_like(coords)
        return self.add_to(coords, gradient), gradient

    def add_to(self, coords, gradient):
        log_density, slope, _ = self.density(coords.ravel() / UNIT)
        gradient -= thermal_energy(300.0) / UNIT * slope.reshape(coords.shape)
        return -thermal_energy(300.0) * log_density


def posterior_of(density):
    """The posterior of beads whose coordinates, over ``UNIT``, have this density; its flat vector is theirs."""
    start = np.zeros((density.n_dim // 3, 3))
    free = Deformation("local", start, np.zeros((0, *start.shape)))
    # The hold of the centroid must be there, and be of no effect.
    return Posterior(None, [DensityTerm(density)], free, thermal_energy(300.0), start.mean(axis=0), 1e6)
