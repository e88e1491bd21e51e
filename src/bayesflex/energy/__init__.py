"""The structural prior: potentials over CA and C4' about the values of the start model, zero there.

A new potential is one file with a class of :class:`bayesflex.protocols.EnergyTerm`'s shape, and one row in ``TERMS``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesflex.config import FitConfig
from bayesflex.energy.angles import build_angles
from bayesflex.energy.bonds import build_bonds
from bayesflex.energy.contacts import build_contacts
from bayesflex.energy.dihedrals import build_dihedrals
from bayesflex.energy.excluded_volume import build_excluded_volume
from bayesflex.errors import InputError
from bayesflex.protocols import EnergyTerm
from bayesflex.structure import Structure

#: Name of a term -> what makes it from the CA trace of the start model, or None where its constant is zero.
TERMS: dict[str, Callable[[Structure, FitConfig], EnergyTerm | None]] = {
    "bonds": build_bonds,
    "angles": build_angles,
    "dihedrals": build_dihedrals,
    "excluded_volume": build_excluded_volume,
    "contacts": build_contacts,
}

#: Terms that couple only beads along a chain, at most ``BONDED_REACH`` bonds apart: their Hessian is a band.
CHAIN_TERMS = ("bonds", "angles", "dihedrals")

__all__ = ["CHAIN_TERMS", "TERMS", "build_prior"]


def build_prior(ca: Structure, config: FitConfig) -> tuple[EnergyTerm, ...]:
    """Return the energy terms of a trace of CA and C4'; U is their sum, zero at the trace itself.

    Parameters
    ----------
    ca
        Trace of the start model, one site per residue.
    config
        Gives the constants; a term whose constant is zero is left out.

    Raises
    ------
    InputError
        If a coordinate is not finite.
    """
    if not np.all(np.isfinite(ca.coords)):
        raise InputError(f"{ca.name}: a coordinate of the model is not finite; expected positions in Å for every atom")
    terms = (build(ca, config) for build in TERMS.values())
    return tuple(term for term in terms if term is not None)
