"""Backbones of ideal geometry: helices by formula, loops by closure in torsion space.

Bond lengths, bond angles and trans peptides are exact everywhere; only phi and psi vary.
This module makes pieces of main chain. ``synthetic`` puts them together into proteins.

A piece of backbone is an array of shape (n_residues, 3, 3): the atoms N, CA, C of each residue, then x, y, z in Å.
Torsions are in radians.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.compiling import KERNEL, PART
from bayesflex.errors import InputError

Array = NDArray[np.float64]

# Bond lengths in Å and angles in radians of Engh and Huber (1991), Acta Cryst. A47, 392.
N_CA, CA_C, C_N, C_O, CA_CB = 1.458, 1.525, 1.329, 1.231, 1.530
ANGLE_N_CA_C = math.radians(111.2)
ANGLE_CA_C_N = math.radians(116.2)
ANGLE_C_N_CA = math.radians(121.7)
ANGLE_CA_C_O = math.radians(120.8)
ANGLE_N_CA_CB = math.radians(110.4)
#: Dihedral C-N-CA-CB of an L amino acid; it follows from the three angles about CA (CB-CA-C is 110.1 degrees).
IMPROPER_CB = math.radians(-122.2)
#: phi and psi of an alpha helix with 1.5 Å rise per residue.
HELIX_PHI, HELIX_PSI = math.radians(-63.0), math.radians(-43.0)

#: Where the residues of a loop start their search: (phi, psi) of right-handed helix, bridge, beta, polyproline.
_BASINS = np.radians([[-65.0, -40.0], [-95.0, 5.0], [-115.0, 130.0], [-70.0, 145.0]])


class Screw(NamedTuple):
    """The repeat of a helix about +z: the next residue is this one turned by ``twist`` (rad) and up by ``rise`` (Å)."""

    first: Array  # residue 0 with its CA at azimuth 0 and z = 0, shape (3, 3)
    twist: float
    rise: float


class Loop(NamedTuple):
    """Residues between two fixed ones, and the torsions that place them."""

    backbone: Array  # (n_residues, 3, 3)
    torsions: Array  # psi before, then phi and psi of each residue, then phi after: (2 n_residues + 2,)


def place_atom(a: Array, b: Array, c: Array, bond: float, angle: float, torsion: Array | float) -> Array:
    """Return the atom d with bond c-d (Å), angle b-c-d and torsion a-b-c-d (radians).

    The natural extension reference frame of Parsons et al. (2005), J. Comput. Chem. 26, 1063.

    Parameters
    ----------
    a, b, c
        Positions, shape (..., 3), Å.
    torsion
        A number or an array of shape (...).
    """
    axis = c - b
    axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    normal = np.cross(b - a, axis)
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    radial = np.cross(normal, axis)
    angle_part = bond * math.sin(angle)
    torsion = np.asarray(torsion)[..., None]
    return c - bond * math.cos(angle) * axis + angle_part * (np.cos(torsion) * radial + np.sin(torsion) * normal)


def grow(start: Array, torsions: Array) -> Array:
    """Return the residues that follow one residue, for a batch of torsions.

    Parameters
    ----------
    start
        N, CA, C of the residue before, shape (3, 3), Å.
    torsions
        psi of the residue before and phi of the first, psi of the first and phi of the second, ...:
        shape (n_batch, 2 n_residues), radians.

    Returns
    -------
    Array
        Backbones of ideal geometry with trans peptides, shape (n_batch, n_residues, 3, 3), Å.
    """
    n_batch, n_torsions = torsions.shape
    residues = np.empty((n_batch, n_torsions // 2, 3, 3))
    # Copies in one layout, and writable: for each other kind of array the kernel would be compiled once more.
    start, torsions = start.copy(), torsions.copy()
    for row, chain in zip(torsions, residues, strict=True):
        _grow_kernel(start, row, chain)
    return residues


def first_residue() -> Array:
    """Return N, CA, C of one residue in a frame of its own, shape (3, 3), Å."""
    n = np.array([0.0, 0.0, 0.0])
    ca = np.array([N_CA, 0.0, 0.0])
    c = ca + CA_C * np.array([-math.cos(ANGLE_N_CA_C), math.sin(ANGLE_N_CA_C), 0.0])
    return np.stack([n, ca, c])


@lru_cache(maxsize=1)
def helix_screw() -> Screw:
    """Return the screw motion that makes a helix of the torsions ``HELIX_PHI`` and ``HELIX_PSI``."""
    one = first_residue()
    two = grow(one, np.array([[HELIX_PSI, HELIX_PHI]]))[0, 0]
    rotation = _frame(two) @ _frame(one).T
    shift = two[1] - rotation @ one[1]
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    twist = math.atan2(float(np.linalg.norm(axis)), float(np.trace(rotation)) - 1.0)
    axis = axis / np.linalg.norm(axis)
    rise = float(shift @ axis)
    if rise < 0:
        axis, twist, rise = -axis, -twist, -rise
    # A point x of the axis moves along the axis alone: (1 - R) x = shift - rise * axis, singular along the axis.
    point = np.linalg.lstsq(np.eye(3) - rotation, shift - rise * axis, rcond=None)[0]
    outward = one[1] - point
    outward = outward - (outward @ axis) * axis
    x_axis = outward / np.linalg.norm(outward)
    basis = np.stack([x_axis, np.cross(axis, x_axis), axis])
    local = (one - point) @ basis.T
    local[:, 2] -= local[1, 2]
    local.setflags(write=False)
    return Screw(local, twist, rise)


def helix(first: int, last: int, length: int, phase: float) -> Array:
    """Return residues ``first`` to ``last`` (not included) of an ideal helix about +z.

    The helix is placed so that residues 0 to length - 1 have their CA atoms centred on z = 0;
    ``phase`` (radians) is the azimuth of the CA of residue 0.

    Returns
    -------
    Array
        Shape (last - first, 3, 3), Å.
    """
    screw = helix_screw()
    index = np.arange(first, last)
    azimuth = phase + index * screw.twist
    cos, sin = np.cos(azimuth)[:, None], np.sin(azimuth)[:, None]
    x, y, z = screw.first.T
    height = screw.rise * (index - 0.5 * (length - 1))[:, None]
    return np.stack([cos * x - sin * y, sin * x + cos * y, z + height], axis=-1)


def oxygen_and_beta(backbone: Array) -> tuple[Array, Array]:
    """Return the O and CB atoms of each residue, each of shape (n_residues, 3), Å.

    The O of the last residue is placed as in a helix.
    """
    n, ca, c = backbone[:, 0], backbone[:, 1], backbone[:, 2]
    psi = np.full(len(backbone), HELIX_PSI)
    psi[:-1] = dihedral(n[:-1], ca[:-1], c[:-1], n[1:])
    oxygen = place_atom(n, ca, c, C_O, ANGLE_CA_C_O, psi + math.pi)
    beta = place_atom(c, n, ca, CA_CB, ANGLE_N_CA_CB, IMPROPER_CB)
    return oxygen, beta


def dihedral(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Return the torsions a-b-c-d in radians, shape (...), of positions (..., 3)."""
    axis = c - b
    first, second = np.cross(b - a, axis), np.cross(axis, d - c)
    length = np.linalg.norm(axis, axis=-1)
    angle: Array = np.arctan2(length * np.sum((b - a) * second, axis=-1), np.sum(first * second, axis=-1))
    return angle


def phi_psi(backbone: Array) -> Array:
    """Return phi and psi (radians) of the residues that have both, shape (n_residues - 2, 2)."""
    n, ca, c = backbone[:, 0], backbone[:, 1], backbone[:, 2]
    phi = dihedral(c[:-2], n[1:-1], ca[1:-1], c[1:-1])
    psi = dihedral(n[1:-1], ca[1:-1], c[1:-1], n[2:])
    return np.stack([phi, psi], axis=-1)


def is_allowed(torsions: Array) -> NDArray[np.bool_]:
    """Tell which (phi, psi), shape (..., 2), radians, lie in the region of beta, bridge and right-handed helix.

    The outline is a coarse one of the allowed region of Lovell et al. (2003), Proteins 50, 437, without
    the left-handed helix: phi from -165 to -45 degrees, psi from -70 up over 180 to -165 degrees.
    """
    phi, psi = np.degrees(torsions[..., 0]), np.degrees(torsions[..., 1])
    phi = (phi + 180.0) % 360.0 - 180.0
    psi = (psi + 180.0) % 360.0 - 180.0
    return (phi >= -165.0) & (phi <= -45.0) & ((psi >= -70.0) | (psi <= -165.0))


def close_loop(
    rng: Generator, before: Array, after: Array, n_residues: int, obstacles: Array, n_starts: int = 150
) -> list[Loop]:
    """Return loops of allowed torsions that join two residues and touch nothing, shortest way first.

    Parameters
    ----------
    rng
        Draws the starting torsions.
    before, after
        N, CA, C of the residues on either side, shape (3, 3), Å.
    n_residues
        Length of the loop; at least 3, so that there are more torsions than conditions.
    obstacles
        Atoms to keep 2.9 Å away from, shape (n, 3), Å; not those of the residues next to the loop.

    Returns
    -------
    list of Loop
        Empty where the search finds none.
    """
    basin = rng.integers(len(_BASINS), size=(n_starts, n_residues))
    torsions = np.empty((n_starts, 2 * n_residues + 2))
    torsions[:, 0], torsions[:, -1] = HELIX_PSI, HELIX_PHI
    torsions[:, 1:-1] = _BASINS[basin].reshape(n_starts, -1)  # (n_starts, n_residues, 2) -> (n_starts, 2 n_residues)
    torsions += rng.normal(scale=math.radians(10.0), size=torsions.shape)
    torsions = _closed(before, after, torsions, n_iterations=40)
    residues = grow(before, torsions)

    error = np.abs(residues[:, -1] - after).max(axis=(1, 2))
    # phi before and psi after are those of the helices on either side.
    full = np.concatenate(
        [np.full((n_starts, 1), HELIX_PHI), torsions, np.full((n_starts, 1), HELIX_PSI)], axis=1
    ).reshape(n_starts, -1, 2)  # (n_starts, 2 n_residues + 4) -> (n_starts, n_residues + 2, 2)
    good = np.flatnonzero((error < 1e-6) & is_allowed(full).all(axis=1))
    tree = cKDTree(obstacles)
    found: list[tuple[float, int]] = []
    for index in good:
        loop = residues[index, :-1]
        if _is_free(before, loop, after, tree):
            strays = _distance_to_segment(loop[:, 1], before[1], after[1])
            found.append((float(np.sum(strays**2)), int(index)))
    return [Loop(residues[index, :-1].copy(), torsions[index].copy()) for _, index in sorted(found)]


def follow_loop(loop: Loop, before: Array, after: Array) -> Loop:
    """Return the loop bent to residues that moved a little, by the least change of torsions.

    Raises
    ------
    InputError
        If the loop is too short to reach.
    """
    torsions = _closed(before, after, loop.torsions[None], n_iterations=30)
    residues = grow(before, torsions)[0]
    if not np.abs(residues[-1] - after).max() < 1e-6:
        raise InputError(f"a loop of {len(loop.backbone)} residues cannot span the gap; ask for a smaller opening")
    return Loop(residues[:-1], torsions[0])


def _closed(before: Array, after: Array, torsions: Array, n_iterations: int) -> Array:
    """Return torsions, shape (n_batch, 2 n + 2), moved so that the last residue becomes ``after``.

    Damped Gauss-Newton; the freedom that closure leaves goes into staying near the torsions given.
    """
    # Copies in one layout, and writable: for each other kind of array the kernel would be compiled once more.
    torsions, before, after = torsions.copy(), before.copy(), after.copy()
    n_torsions = torsions.shape[1]
    residues, jacobian = np.empty((n_torsions // 2, 3, 3)), np.empty((9, n_torsions))
    normal, missing, axis = np.empty((9, 9)), np.empty(9), np.empty(3)
    for row in torsions:
        _close_kernel(before, after, row, row.copy(), n_iterations, residues, jacobian, normal, missing, axis)
    return torsions


@njit(**PART)
def _place_kernel(
    a: Array, b: Array, c: Array, bond: float, angle: float, torsion: float, out: Array
) -> None:  # pragma: no cover
    """Write the atom d of :func:`place_atom`, for one set of atoms of shape (3,), into ``out``."""
    ux, uy, uz = c[0] - b[0], c[1] - b[1], c[2] - b[2]
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    ux, uy, uz = ux / length, uy / length, uz / length
    vx, vy, vz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    nx, ny, nz = vy * uz - vz * uy, vz * ux - vx * uz, vx * uy - vy * ux
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx / length, ny / length, nz / length
    along = -bond * math.cos(angle)
    radial = bond * math.sin(angle) * math.cos(torsion)
    normal = bond * math.sin(angle) * math.sin(torsion)
    out[0] = c[0] + along * ux + radial * (ny * uz - nz * uy) + normal * nx
    out[1] = c[1] + along * uy + radial * (nz * ux - nx * uz) + normal * ny
    out[2] = c[2] + along * uz + radial * (nx * uy - ny * ux) + normal * nz


@njit(**KERNEL)
def _grow_kernel(start: Array, torsions: Array, residues: Array) -> None:  # pragma: no cover
    """Write the residues (n, 3, 3) that follow ``start`` (3, 3), for torsions (2 n,)."""
    atoms = residues.reshape(-1, 3)
    for m in range(len(atoms)):
        a = start[m] if m < 3 else atoms[m - 3]
        b = start[m + 1] if m < 2 else atoms[m - 2]
        c = start[m + 2] if m < 1 else atoms[m - 1]
        if m % 3 == 0:
            bond, angle, torsion = C_N, ANGLE_CA_C_N, torsions[2 * (m // 3)]
        elif m % 3 == 1:
            bond, angle, torsion = N_CA, ANGLE_C_N_CA, math.pi
        else:
            bond, angle, torsion = CA_C, ANGLE_N_CA_C, torsions[2 * (m // 3) + 1]
        _place_kernel(a, b, c, bond, angle, torsion, atoms[m])


@njit(**KERNEL)
def _close_kernel(  # type: ignore[no-untyped-def]
    before, after, torsions, home, n_iterations, residues, jacobian, normal, missing, axis
):  # pragma: no cover
    """Move torsions (n_torsions,) in place until the residue they lead to from ``before`` is ``after``, both (3, 3).

    ``home`` are the torsions given. Workspaces: (n_torsions / 2, 3, 3), (9, n_torsions), (9, 9), (9,) and (3,).
    """
    n_torsions = len(torsions)
    for iteration in range(n_iterations):
        _grow_kernel(before, torsions, residues)
        last = residues[-1]
        for k in range(n_torsions):
            residue = residues[k // 2]
            if k % 2 == 1:  # phi turns about N-CA
                tail, head = residue[0], residue[1]
            else:  # psi of the residue before turns about CA-C
                previous = before if k == 0 else residues[k // 2 - 1]
                tail, head = previous[1], previous[2]
            length = 0.0
            for x in range(3):
                axis[x] = head[x] - tail[x]
                length += axis[x] * axis[x]
            length = math.sqrt(length)
            for x in range(3):
                axis[x] /= length
            for atom in range(3):
                ax, ay, az = last[atom, 0] - head[0], last[atom, 1] - head[1], last[atom, 2] - head[2]
                jacobian[3 * atom, k] = axis[1] * az - axis[2] * ay
                jacobian[3 * atom + 1, k] = axis[2] * ax - axis[0] * az
                jacobian[3 * atom + 2, k] = axis[0] * ay - axis[1] * ax
        # Nine coordinates of three bonded atoms have six degrees of freedom: damping also takes the other three.
        damping = 1.0 if iteration < n_iterations // 3 else 1e-8
        error = 0.0
        for i in range(9):
            missing[i] = after[i // 3, i % 3] - last[i // 3, i % 3]
            error = max(error, abs(missing[i]))
        if error < 1e-10:
            return
        for i in range(9):
            for k in range(n_torsions):
                missing[i] -= jacobian[i, k] * 0.3 * (home[k] - torsions[k])
            for j in range(i + 1):
                total = damping if i == j else 0.0
                for k in range(n_torsions):
                    total += jacobian[i, k] * jacobian[j, k]
                normal[i, j] = total
        _cholesky_solve_kernel(normal, missing)
        for k in range(n_torsions):
            step = 0.3 * (home[k] - torsions[k])
            for i in range(9):
                step += jacobian[i, k] * missing[i]
            # In radians; a longer step leaves the range of the linearisation.
            torsions[k] += min(max(step, -0.3), 0.3)


@njit(**PART)
def _cholesky_solve_kernel(matrix: Array, vector: Array) -> None:  # pragma: no cover
    """Overwrite ``vector`` (n,) by the solution for positive definite ``matrix`` (n, n), of which half is read."""
    n = len(vector)
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = math.sqrt(total) if i == j else total / matrix[j, j]
    for i in range(n):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= matrix[k, i] * vector[k]
        vector[i] /= matrix[i, i]


def _is_free(before: Array, loop: Array, after: Array, tree: cKDTree) -> bool:
    """Tell whether the atoms of a loop keep clear of the obstacles and of each other."""
    chain = np.concatenate([before[None], loop, after[None]])
    oxygen, beta = oxygen_and_beta(chain)
    atoms = np.concatenate([chain, oxygen[:, None], beta[:, None]], axis=1)[1:-1]  # (n, 5, 3)
    if np.min(tree.query(atoms.reshape(-1, 3))[0]) < 2.9:
        return False
    if np.linalg.norm(chain[:-2, 1] - chain[2:, 1], axis=-1).min() < 5.0:
        return False
    for gap in range(2, len(loop)):
        if np.linalg.norm(atoms[:-gap, :, None] - atoms[gap:, None, :], axis=-1).min() < 3.0:
            return False
        if gap > 2 and np.linalg.norm(loop[:-gap, 1] - loop[gap:, 1], axis=-1).min() < 4.5:
            return False
    return True


def _distance_to_segment(points: Array, start: Array, end: Array) -> Array:
    """Return the distances (Å) of points (n, 3) from the segment between two positions."""
    along = end - start
    fraction = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
    distance: Array = np.linalg.norm(points - start - fraction[:, None] * along, axis=-1)
    return distance


def _frame(residue: Array) -> Array:
    """Return the right-handed frame of N, CA, C as columns, shape (3, 3)."""
    x = residue[2] - residue[1]
    x = x / np.linalg.norm(x)
    z = np.cross(x, residue[0] - residue[1])
    z = z / np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1)
