"""Proteins made by the program itself, with a motion whose answer is known.

For the demo, the property tests and the scaling benchmarks. Bond lengths, bond angles and peptides are ideal
(``ideal_backbone``), helices are packed as in bundles (``helix_bundle``). Maps of these models come from
``workflows.simulate``. The same arguments give the same atoms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.errors import InputError
from bayesflex.helix_bundle import (
    LINKER_LENGTH,
    LOOP_LENGTH,
    MAX_OPENING,
    MIN_RESIDUES,
    SPACING,
    Plan,
    domain_backbone,
    extra_residues,
    other_loop,
    plan_domain,
    two_domain_backbone,
)
from bayesflex.ideal_backbone import Array, oxygen_and_beta
from bayesflex.lattice import CHAIN_CONTACT, chain_name, copies_on_lattice, serpentine
from bayesflex.structure import Structure

#: Opening in degrees that, with the changed loop, moves a protein of 200 residues by about 7 Å RMS.
DEFAULT_OPENING = 30.0
_HELIX_SEQUENCE = np.array(["ALA", "GLU", "LEU", "LYS", "ARG", "ILE", "GLU", "ALA", "LEU", "GLN", "LYS", "VAL"])
_LOOP_SEQUENCE = np.array(["GLY", "SER", "ASP", "THR", "GLY", "ASN", "SER"])
#: B-factors of helices and loops, Å².
_B_HELIX, _B_LOOP = 20.0, 40.0


@dataclass(frozen=True)
class Layout:
    """Which residues of a two-domain protein do what, counted from 0.

    ``changed`` is the loop of the first domain (with a residue on either side) whose shape differs between the
    states of :func:`two_domain_pair`.
    """

    first_domain: slice
    linker: slice
    second_domain: slice
    changed: slice


def two_domain_layout(n_residues: int = 200) -> Layout:
    """Return which residues form the domains, the linker and the loop that changes."""
    plan, before, _ = _two_domain_plan(n_residues)
    end = before + plan.n_residues
    # The loop alone has too few shapes: one residue of the helix on either side frays with it.
    changed = before + plan.helix_length - 1
    return Layout(
        first_domain=slice(0, end),
        linker=slice(end, end + LINKER_LENGTH),
        second_domain=slice(end + LINKER_LENGTH, n_residues),
        changed=slice(changed, changed + LOOP_LENGTH + 2),
    )


def two_domain_protein(n_residues: int = 200, opening: float = 0.0, *, changed_loop: bool = False) -> Structure:
    """Return a protein of two helical domains, the second one turned about the hinge.

    Parameters
    ----------
    n_residues
        Length of the chain.
    opening
        Angle in degrees by which the second domain is turned away from the first; 0 is the closed state.
    changed_loop
        Give the loop ``two_domain_layout(n_residues).changed`` its other shape.

    Returns
    -------
    Structure
        Atoms N, CA, C, O and (but for glycine) CB of chain A. The first domain is at the same place at every opening;
        the origin is the CA centroid of the closed state.

    Raises
    ------
    InputError
        If the chain is too short, the opening is outside 0 to ``MAX_OPENING``, or no loops fit this size.
    """
    if not 0.0 <= opening <= MAX_OPENING:
        raise InputError(f"opening is {opening} degrees; expected 0 (closed) to {MAX_OPENING:g}")
    plan, before, after = _two_domain_plan(n_residues)
    backbone = two_domain_backbone(n_residues, float(opening))
    if changed_loop:
        changed = two_domain_layout(n_residues).changed
        backbone = backbone.copy()
        backbone[changed] = other_loop(n_residues, changed.start, changed.stop)
    backbone = backbone - two_domain_backbone(n_residues, 0.0)[:, 1].mean(axis=0)
    in_helix = _domain_helices(plan)
    in_helix = np.concatenate(
        [
            np.ones(max(before, 0), dtype=bool),
            in_helix[max(-before, 0) :],
            np.zeros(LINKER_LENGTH, dtype=bool),
            in_helix[: len(in_helix) + min(after, 0)],
            np.ones(max(after, 0), dtype=bool),
        ]
    )
    return _chain(backbone, in_helix, name=f"two-domain protein, {n_residues} residues, open by {opening:g} degrees")


def two_domain_pair(n_residues: int = 200, opening: float = DEFAULT_OPENING) -> tuple[Structure, Structure]:
    """Return the closed and the open state of a two-domain protein: the same atoms in one frame.

    The open state differs by the opening (degrees) and by the shape of one loop, which no collective motion gives.

    Raises
    ------
    InputError
        As :func:`two_domain_protein`.
    """
    return two_domain_protein(n_residues), two_domain_protein(n_residues, opening, changed_loop=True)


def hexamer(n_residues: int = 728, opening: float = 0.0) -> Structure:
    """Return a ring of six two-domain proteins, chains A to F, with its sixfold axis along z through the origin.

    Parameters
    ----------
    n_residues
        Residues of each chain.
    opening
        Opening of every chain, degrees. The first domains form the ring, the same at every opening.

    Raises
    ------
    InputError
        As :func:`two_domain_protein`.
    """
    # The second domain lies along y of the first; a quarter turn points it outwards.
    quarter = _about_z(-0.5 * math.pi).T
    closed = two_domain_protein(n_residues)
    chain = two_domain_protein(n_residues, opening)
    radius = _ring_radius(closed.coords[closed.is_ca] @ quarter)
    outwards = chain.coords @ quarter + np.array([radius, 0.0, 0.0])
    whole = chain.select(np.tile(np.arange(chain.n_atoms), 6))
    return replace(
        whole,
        coords=np.concatenate([outwards @ _about_z(k * math.pi / 3.0).T for k in range(6)]),
        chain=np.repeat(np.array(list("ABCDEF")), chain.n_atoms),
        name=f"hexamer, {n_residues} residues per chain, open by {opening:g} degrees",
    )


def assembly(n_ca: int) -> Structure:
    """Return a CA model of any size, for benchmarks: compact chains that fill a cube and touch their neighbours.

    Beads are in chain order and neighbouring chains follow each other; the last chain is cut to give the number, and
    of a piece of one or two residues an elastic network may lose hold. The origin is the centroid.

    Raises
    ------
    InputError
        If n_ca is not positive.
    """
    if not n_ca >= 1:
        raise InputError(f"n_ca is {n_ca}; expected at least 1")
    # 300 residues; an even number of columns and rows lets copies continue each other's lattice.
    plan = Plan(columns=4, rows=4, helix_length=13)
    unit = domain_backbone(plan)[:, 1]
    n_unit = len(unit)
    n_chains = -(-n_ca // n_unit)
    period = np.array([plan.columns * SPACING, plan.rows * SPACING, np.ptp(unit[:, 2]) + CHAIN_CONTACT])
    cells = np.array(list(serpentine(n_chains)), dtype=np.float64)
    coords = (cells[:, None, :] * period + unit).reshape(-1, 3)[:n_ca]  # (n_chains, n_unit, 3) -> (n_ca, 3)
    index = np.arange(n_ca)
    in_helix = _domain_helices(plan)
    return Structure(
        coords=coords - coords.mean(axis=0),
        element=np.full(n_ca, "C"),
        atom_name=np.full(n_ca, "CA"),
        residue_name=_sequence(in_helix)[index % n_unit],
        residue_number=index % n_unit + 1,
        insertion_code=np.full(n_ca, "", dtype="U1"),
        chain=np.array([chain_name(i) for i in range(n_chains)])[index // n_unit],
        occupancy=np.ones(n_ca),
        b_factor=np.where(in_helix, _B_HELIX, _B_LOOP)[index % n_unit],
        is_hetero=np.zeros(n_ca, dtype=bool),
        name=f"assembly of {n_ca} CA",
    )


def ring_assembly(n_rings: int, n_residues: int = 728) -> Structure:
    """Return a CA model of :func:`hexamer` rings side by side that touch: large, and with holes. For benchmarks.

    Parameters
    ----------
    n_rings
        How many.
    n_residues
        Residues of each of the six chains of a ring.

    Raises
    ------
    InputError
        If n_rings is not positive, and as :func:`hexamer`.
    """
    return replace(copies_on_lattice(hexamer(n_residues).ca_trace(), n_rings), name=f"{n_rings} rings")


def _two_domain_plan(n_residues: int) -> tuple[Plan, int, int]:
    """Return the lattice of the domains and how many residues are added to the chain's ends."""
    if not n_residues >= MIN_RESIDUES:
        raise InputError(f"n_residues is {n_residues}; two helical domains need at least {MIN_RESIDUES}")
    plan = plan_domain(0.5 * (n_residues - LINKER_LENGTH))
    return plan, *extra_residues(plan, n_residues)


def _domain_helices(plan: Plan) -> NDArray[np.bool_]:
    """Return which residues of a domain belong to helices, shape (plan.n_residues,)."""
    repeat = np.arange(plan.helix_length + LOOP_LENGTH) < plan.helix_length
    return np.tile(repeat, plan.n_helices)[: plan.n_residues]


def _sequence(in_helix: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Return residue names, shape (n_residues,): those that favour helices, and those that favour loops."""
    index = np.arange(len(in_helix))
    names = np.where(
        in_helix, _HELIX_SEQUENCE[index % len(_HELIX_SEQUENCE)], _LOOP_SEQUENCE[index % len(_LOOP_SEQUENCE)]
    )
    names[0] = "MET"
    return names


def _chain(backbone: Array, in_helix: NDArray[np.bool_], name: str) -> Structure:
    """Return a backbone (n_residues, 3, 3) as chain A, with O and CB."""
    n_residues = len(backbone)
    oxygen, beta = oxygen_and_beta(backbone)
    coords = np.concatenate([backbone, oxygen[:, None], beta[:, None]], axis=1)  # (n_residues, 5, 3)
    sequence = _sequence(in_helix)
    present = np.ones((n_residues, 5), dtype=bool)
    present[:, 4] = sequence != "GLY"
    keep = present.ravel()
    residue = np.repeat(np.arange(n_residues), 5)[keep]
    n_atoms = len(residue)
    return Structure(
        coords=coords.reshape(-1, 3)[keep],
        element=np.tile(["N", "C", "C", "O", "C"], n_residues)[keep],
        atom_name=np.tile(["N", "CA", "C", "O", "CB"], n_residues)[keep],
        residue_name=sequence[residue],
        residue_number=residue + 1,
        insertion_code=np.full(n_atoms, "", dtype="U1"),
        chain=np.full(n_atoms, "A"),
        occupancy=np.ones(n_atoms),
        b_factor=np.where(in_helix, _B_HELIX, _B_LOOP)[residue],
        is_hetero=np.zeros(n_atoms, dtype=bool),
        name=name,
    )


def _about_z(angle: float) -> Array:
    """Return the rotation about z by an angle in radians, shape (3, 3)."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _ring_radius(ca: Array) -> float:
    """Return the least shift along x (to 0.1 Å) at which CA atoms and their copy 60 degrees on stay clear."""
    turn = _about_z(math.pi / 3.0).T
    far = float(np.ptp(ca, axis=0).max()) * 4.0
    near = 0.0
    while far - near > 0.1:
        radius = 0.5 * (near + far)
        shifted = ca + np.array([radius, 0.0, 0.0])
        if np.min(shifted[:, 0]) > 0 and np.min(cKDTree(shifted).query(shifted @ turn)[0]) > CHAIN_CONTACT:
            far = radius
        else:
            near = radius
    return far
