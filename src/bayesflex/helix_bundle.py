"""Main chains of compact domains: helices on a square lattice, joined by loops and by a hinge.

Backbones alone (see ``ideal_backbone`` for the arrays); ``synthetic`` makes structures of them. A chain runs as a
serpentine: up one helix and down the next along x, then to the next row along y. In the frame of a helix (its axis
z, its middle the origin) each next one is the same helix a lattice step away and upside down, so that three loops
(x, +y, -y) join them all. Nothing here is random from call to call.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.errors import InputError
from bayesflex.ideal_backbone import (
    Array,
    Loop,
    close_loop,
    follow_loop,
    helix,
    helix_screw,
    is_allowed,
    oxygen_and_beta,
    phi_psi,
)

#: Residues of a loop between two helices, and of the linker between two domains.
LOOP_LENGTH, LINKER_LENGTH = 6, 8
#: Distance between the axes of neighbouring helices, Å (8 to 10 in proteins: Chothia et al., 1981, JMB 145, 215).
SPACING = 10.0
#: Largest opening of the hinge, degrees: the linker is chosen to reach that far.
MAX_OPENING = 60.0
#: Distance between the helices on either side of the hinge, Å, and their tilt in the closed state, degrees:
#: the domains touch near the linker alone, so that opening is a soft mode of an elastic network.
_HINGE_SPACING, _HINGE_TILT = 11.5, 9.0
#: Height of the hinge axis above the ends of the helices, Å: over the loops, so that none is pushed into another.
_HINGE_HEIGHT = 5.0
#: The linker follows the hinge in steps of at most so many degrees.
_HINGE_STEP = 3.0
_MIN_HELIX = 8
#: Two domains of two helices each.
MIN_RESIDUES = 2 * (2 * _MIN_HELIX + LOOP_LENGTH) + LINKER_LENGTH
#: Seed of the search for loops: part of what defines these proteins.
_SEED = 20211
_DIRECTIONS = {"x": np.array([1.0, 0.0, 0.0]), "+y": np.array([0.0, 1.0, 0.0]), "-y": np.array([0.0, -1.0, 0.0])}


@dataclass(frozen=True)
class Plan:
    """The lattice of one domain."""

    columns: int
    rows: int
    helix_length: int

    @property
    def n_helices(self) -> int:
        """Number of helices."""
        return self.columns * self.rows

    @property
    def n_residues(self) -> int:
        """Residues of the domain."""
        return self.n_helices * (self.helix_length + LOOP_LENGTH) - LOOP_LENGTH

    @property
    def turns(self) -> tuple[str, ...]:
        """The loops in chain order: "x" within a row, "y" to the next row."""
        row = ("x",) * (self.columns - 1)
        return (*row, "y") * (self.rows - 1) + row


@dataclass(frozen=True)
class _Pose:
    """Place of a helix: x -> rotation x + shift."""

    rotation: Array
    shift: Array

    def apply(self, points: Array) -> Array:
        """Return the points, shape (..., 3), of this frame in the outer one."""
        return points @ self.rotation.T + self.shift

    def then(self, inner: _Pose) -> _Pose:
        """Return the place, in the outer frame, of a frame that is placed in this one."""
        return _Pose(self.rotation @ inner.rotation, self.rotation @ inner.shift + self.shift)


@dataclass(frozen=True)
class _Domain:
    """A domain's backbone (n_residues, 3, 3), where its last helix is, and the sign of the way on along its y."""

    backbone: Array
    last: _Pose
    sign: int


@dataclass(frozen=True)
class _Parts:
    """What a lattice is put together from: the phase of its helices, and its loops by direction."""

    phase: float
    loops: dict[str, Loop]


def plan_domain(n_residues: float) -> Plan:
    """Return the most compact lattice of about so many residues."""
    best, best_size = Plan(2, 1, _MIN_HELIX), math.inf
    rise = helix_screw().rise
    for rows in range(1, 2 + round(n_residues ** (1.0 / 3.0))):
        for columns in range(max(rows, 2), rows + 2):
            length = round((n_residues + LOOP_LENGTH) / (columns * rows)) - LOOP_LENGTH
            # The loops add about 4 Å at either end of the helices.
            size = (columns * SPACING) ** 2 + (rows * SPACING) ** 2 + (length * rise + 8.0) ** 2
            if length >= _MIN_HELIX and size < best_size:
                best, best_size = Plan(columns, rows, length), size
    return best


def extra_residues(plan: Plan, n_residues: int) -> tuple[int, int]:
    """Return how many residues are added to the first and the last helix of a pair of domains (negative: left out)."""
    extra = n_residues - LINKER_LENGTH - 2 * plan.n_residues
    return extra // 2, extra - extra // 2


@lru_cache(maxsize=16)
def domain_backbone(plan: Plan) -> Array:
    """Return the backbone of one domain, shape (plan.n_residues, 3, 3), Å; not to be written to.

    Raises
    ------
    InputError
        If no loops are found that fit helices of this length.
    """
    parts = next(_possible_parts(plan), None)
    if parts is None:
        raise InputError(f"no loops fit helices of {plan.helix_length} residues; ask for another length")
    backbone = _domain(plan, parts, _Pose(np.eye(3), np.zeros(3)), 1).backbone
    backbone.setflags(write=False)
    return backbone


@lru_cache(maxsize=16)
def two_domain_backbone(n_residues: int, opening: float) -> Array:
    """Return two domains and the linker between them, shape (n_residues, 3, 3), Å; not to be written to.

    The first domain is at the same place at every opening (degrees).

    Raises
    ------
    InputError
        If no loops or no linker are found.
    """
    parts, closed = _two_domain_parts(n_residues)
    linker = _bent(closed, n_residues, parts, 0.0, opening)
    backbone = _joined(_domain_pair(n_residues, parts, opening), linker)
    backbone.setflags(write=False)
    return backbone


@lru_cache(maxsize=16)
def other_loop(n_residues: int, start: int, stop: int) -> Array:
    """Return another shape of residues of the first domain, 2 to 4 Å RMS (CA) from that of the closed state.

    Parameters
    ----------
    n_residues
        Length of the chain.
    start, stop
        First residue and the one after the last; those next to them must be in helices.

    Returns
    -------
    Array
        Shape (stop - start, 3, 3), Å, in the frame of :func:`two_domain_backbone`; not to be written to.

    Raises
    ------
    InputError
        If none is found.
    """
    closed = two_domain_backbone(n_residues, 0.0)
    rest = np.concatenate([_atoms(closed[: start - 1]), _atoms(closed[stop + 1 :])])
    found = close_loop(np.random.default_rng(_SEED), closed[start - 1], closed[stop], stop - start, rest, n_starts=1200)
    for loop in found:
        changed = closed.copy()
        changed[start:stop] = loop.backbone
        shift = loop.backbone[:, 1] - closed[start:stop, 1]
        if 2.0 <= math.sqrt(float(np.mean(np.sum(shift**2, axis=-1)))) <= 4.0 and is_clash_free(changed):
            loop.backbone.setflags(write=False)
            return loop.backbone
    raise InputError(f"no second shape found for a loop of {n_residues} residues; ask for another number of residues")


def is_clash_free(backbone: Array) -> bool:
    """Tell whether atoms two residues apart or more keep 2.7 Å, and CA three residues apart or more 4.0 Å."""
    pairs = cKDTree(backbone[:, 1]).query_pairs(4.0, output_type="ndarray")
    if np.any(np.abs(pairs[:, 1] - pairs[:, 0]) >= 3):
        return False
    atoms = _atoms(backbone)
    residue = np.tile(np.arange(len(backbone)), 5)
    pairs = residue[cKDTree(atoms).query_pairs(2.7, output_type="ndarray")]
    return not np.any(np.abs(pairs[:, 1] - pairs[:, 0]) >= 2)


def _atoms(backbone: Array) -> Array:
    """Return all N, then all CA, C, O and CB, shape (5 n_residues, 3)."""
    oxygen, beta = oxygen_and_beta(backbone)
    return np.concatenate([backbone[:, 0], backbone[:, 1], backbone[:, 2], oxygen, beta])


def _steps(plan: Plan, sign: int) -> Iterator[tuple[str, int]]:
    """Yield the direction of each turn in the frame of the helix before it, and the sign of the way on after it.

    A half turn about x points y of the next frame the other way; a half turn about y leaves it.
    """
    for turn in plan.turns:
        if turn == "x":
            sign = -sign
            yield "x", sign
        else:
            yield _along_y(sign), sign


def _along_y(sign: int) -> str:
    return "+y" if sign > 0 else "-y"


def _half_turn(direction: Array) -> NDArray[np.float64]:
    """Return the rotation by 180 degrees about a unit vector."""
    return 2.0 * np.outer(direction, direction) - np.eye(3)


def _next_helix(direction: str) -> _Pose:
    """Return the place of the next helix of a lattice in the frame of this one."""
    vector = _DIRECTIONS[direction]
    return _Pose(_half_turn(vector), SPACING * vector)


def _across_hinge(direction: str, helix_length: int, opening: float) -> _Pose:
    """Return the place of the second domain's first helix in the frame of the first domain's last."""
    vector = _DIRECTIONS[direction]
    angle = math.radians(_HINGE_TILT + opening)
    # About +x for +y and -x for -y: the ends far from the linker move apart.
    cos, sin = math.cos(angle), math.sin(angle) * vector[1]
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
    top = 0.5 * (helix_length - 1) * helix_screw().rise
    pivot = 0.5 * _HINGE_SPACING * vector + np.array([0.0, 0.0, top + _HINGE_HEIGHT])
    return _Pose(tilt @ _half_turn(vector), tilt @ (_HINGE_SPACING * vector - pivot) + pivot)


def _domain(plan: Plan, parts: _Parts, pose: _Pose, sign: int, before: int = 0, after: int = 0) -> _Domain:
    """Return a domain from a pose on, with residues added to its first and last helix."""
    length = plan.helix_length
    pieces = [pose.apply(helix(-before, length, length, parts.phase))]
    last = plan.n_helices - 1
    for index, (direction, next_sign) in enumerate(_steps(plan, sign), start=1):
        pieces.append(pose.apply(parts.loops[direction].backbone))
        pose, sign = pose.then(_next_helix(direction)), next_sign
        pieces.append(pose.apply(helix(0, length + (after if index == last else 0), length, parts.phase)))
    return _Domain(np.concatenate(pieces), pose, sign)


def _possible_parts(plan: Plan) -> Iterator[_Parts]:
    """Yield, for one phase of the helices after the other, loops with which a lattice has no clash."""
    sample = Plan(min(plan.columns, 4), min(plan.rows, 3), plan.helix_length)
    start = _Pose(np.eye(3), np.zeros(3))
    # A second domain begins with either sign, according to where the first one ends.
    needed = {direction for sign in (1, -1) for direction, _ in _steps(sample, sign)}
    for phase in np.arange(0.0, 2.0 * math.pi, math.pi / 9.0):
        found = {}
        for name in sorted(needed):
            found[name] = _lattice_loops(name, plan.helix_length, float(phase))
            if not found[name]:
                break
        for choice in itertools.product(*(loops[:4] for loops in found.values())):
            parts = _Parts(float(phase), dict(zip(found, choice, strict=True)))
            if all(is_clash_free(_domain(sample, parts, start, sign).backbone) for sign in (1, -1)):
                yield parts
                break


def _lattice_loops(direction: str, helix_length: int, phase: float) -> list[Loop]:
    """Return loops from one helix to the next that keep clear of the lattice around them."""
    one = helix(0, helix_length, helix_length, phase)
    two = _next_helix(direction).apply(one)
    down = one @ _half_turn(_DIRECTIONS["x"]).T
    obstacles = [_atoms(one[:-1]), _atoms(two[1:])]
    for i, j in itertools.product(range(-2, 3), repeat=2):
        shift = np.array([SPACING * i, SPACING * j, 0.0])
        if np.any(shift) and np.any(shift != SPACING * _DIRECTIONS[direction]):
            obstacles.append(_atoms((one if (i + j) % 2 == 0 else down) + shift))
    rng = np.random.default_rng(_SEED)
    return close_loop(rng, one[-1], two[0], LOOP_LENGTH, np.concatenate(obstacles), n_starts=400)


def _domain_pair(n_residues: int, parts: _Parts, opening: float) -> tuple[_Domain, _Domain]:
    """Return the two domains at an opening (degrees)."""
    plan = plan_domain(0.5 * (n_residues - LINKER_LENGTH))
    before, after = extra_residues(plan, n_residues)
    first = _domain(plan, parts, _Pose(np.eye(3), np.zeros(3)), 1, before=before)
    place = first.last.then(_across_hinge(_along_y(first.sign), plan.helix_length, opening))
    return first, _domain(plan, parts, place, first.sign, after=after)


def _joined(domains: tuple[_Domain, _Domain], linker: Loop) -> Array:
    """Return the backbone of two domains with the linker between them."""
    return np.concatenate([domains[0].backbone, linker.backbone, domains[1].backbone])


@lru_cache(maxsize=32)
def _two_domain_parts(n_residues: int) -> tuple[_Parts, Loop]:
    """Return what the domains are made from and the linker of the closed state; InputError where none is found.

    It is the first linker found with which the hinge opens all the way.
    """
    for parts in _possible_parts(plan_domain(0.5 * (n_residues - LINKER_LENGTH))):
        first, second = _domain_pair(n_residues, parts, 0.0)
        before, after = first.backbone[-1], second.backbone[0]
        obstacles = np.concatenate([_atoms(first.backbone[:-1]), _atoms(second.backbone[1:])])
        for closed in close_loop(np.random.default_rng(_SEED), before, after, LINKER_LENGTH, obstacles, n_starts=2000):
            if _opens_freely(closed, n_residues, parts):
                return parts, closed
    raise InputError(f"no loops and linker fit a protein of {n_residues} residues; ask for another number of residues")


def _bent(linker: Loop, n_residues: int, parts: _Parts, opening: float, target: float) -> Loop:
    """Return the linker of one opening (degrees) carried to a wider one; InputError where it cannot reach.

    It follows in small steps, each by the least change of torsions, and so bends smoothly.
    """
    n_steps = math.ceil((target - opening) / _HINGE_STEP)
    for angle in np.linspace(opening, target, n_steps + 1)[1:]:
        first, second = _domain_pair(n_residues, parts, float(angle))
        linker = follow_loop(linker, first.backbone[-1], second.backbone[0])
    return linker


def _opens_freely(linker: Loop, n_residues: int, parts: _Parts) -> bool:
    """Tell whether a linker of the closed state reaches every opening and stays sound on the way."""
    opening = 0.0
    for target in np.linspace(0.0, MAX_OPENING, 5):
        try:
            linker = _bent(linker, n_residues, parts, opening, float(target))
        except InputError:
            return False
        opening = float(target)
        backbone = _joined(_domain_pair(n_residues, parts, opening), linker)
        if not (is_allowed(phi_psi(backbone)).all() and is_clash_free(backbone)):
            return False
    return True
