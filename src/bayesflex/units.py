"""Physical constants and conversions; nothing else in the package defines one.

Lengths are in Å, energies in kcal/mol, temperatures in K, masses in Da,
log densities in nats.
"""

from __future__ import annotations

import math

#: Boltzmann constant in kcal/(mol K): CODATA 2018, 1.380649e-23 J/K · N_A / 4184.
BOLTZMANN = 0.0019872042586

#: sigma = SIGMA_PER_RESOLUTION · d, the rule of ChimeraX's ``molmap``: 1/(π √2).
#: The Fourier transform of the Gaussian falls to 1/e at the spatial frequency 1/d.
SIGMA_PER_RESOLUTION = 1.0 / (math.pi * math.sqrt(2.0))


def thermal_energy(temperature: float) -> float:
    """Return k_B T in kcal/mol for a temperature in K."""
    return BOLTZMANN * temperature


def sigma_of_resolution(resolution: float) -> float:
    """Return the standard deviation (Å) of the Gaussian that stands for a resolution (Å)."""
    return SIGMA_PER_RESOLUTION * resolution


def resolution_of_sigma(sigma: float) -> float:
    """Return the resolution (Å) whose Gaussian has this standard deviation (Å)."""
    return sigma / SIGMA_PER_RESOLUTION


def b_factor_of_variance(variance: float) -> float:
    """Return the isotropic B-factor (Å²) of a mean square displacement per direction (Å²)."""
    return 8.0 * math.pi**2 * variance
