"""Checks that a Hamiltonian kernel samples what it is given, each a function of the kernel that returns a verdict.

They are functions so that the kernel in use can be shown to pass them, and wrong ones to be caught.
"""

from __future__ import annotations

from distribution_checks import (
    fits_linear_density,
    has_bond_energy,
    has_bond_lengths,
    keeps_exact_draws,
    samples_bimodal,
    samples_correlated_normal,
    samples_funnel,
)
from trajectory_checks import (
    balances_in_detail,
    leaves_rejected_states,
    preserves_volume,
    reversible,
    second_order,
)

CHECKS = {
    "reversible to 1e-9": reversible,
    "volume preserved": preserves_volume,
    "energy error of order step²": second_order,
    "rejected and divergent states untouched": leaves_rejected_states,
    "detailed balance": balances_in_detail,
    "exact draws stay exact": keeps_exact_draws,
    "correlated normal": samples_correlated_normal,
    "bimodal": samples_bimodal,
    "funnel": samples_funnel,
    "bond lengths": has_bond_lengths,
    "mean bond energy": has_bond_energy,
    "linear-Gaussian fit": fits_linear_density,
}
