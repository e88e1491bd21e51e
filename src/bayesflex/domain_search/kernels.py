"""Kernels of the search for a body: its template, the best place for it, and its score with forces, pose by pose."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesflex.compiling import KERNEL
from bayesflex.domain_search.spline import spline_at


@njit(**KERNEL)
def fill_templates(arms, weights, rotations, middle, voxel, work, templates):  # type: ignore[no-untyped-def]
    """Set templates to the weights of a body, turned, spread over the eight voxels around each bead.

    Parameters
    ----------
    arms, weights
        Beads about the pivot, (n_beads, 3), Å, and their weights, (n_beads,).
    rotations
        Shape (n_rotations, 3, 3).
    middle, voxel
        Where the pivot is, in voxels, and the size of a voxel, Å, each (3,) in the order (x, y, z).
    work
        Workspace, (nz, ny, nx): sums are taken in 64 bits.
    templates
        Shape (n_rotations, nz, ny, nx), 32 bits; what leaves the box on one side comes in on the other.
    """
    nz, ny, nx = work.shape
    for r in range(rotations.shape[0]):
        work[:] = 0.0
        turn = rotations[r]
        for n in range(arms.shape[0]):
            a, b, c = arms[n, 0], arms[n, 1], arms[n, 2]
            x = (turn[0, 0] * a + turn[0, 1] * b + turn[0, 2] * c) / voxel[0] + middle[0]
            y = (turn[1, 0] * a + turn[1, 1] * b + turn[1, 2] * c) / voxel[1] + middle[1]
            z = (turn[2, 0] * a + turn[2, 1] * b + turn[2, 2] * c) / voxel[2] + middle[2]
            low_x, low_y, low_z = math.floor(x), math.floor(y), math.floor(z)
            fx, fy, fz = x - low_x, y - low_y, z - low_z
            for k in range(2):
                iz, of_z = (int(low_z) + k) % nz, (fz if k else 1.0 - fz) * weights[n]
                for j in range(2):
                    iy, of_y = (int(low_y) + j) % ny, (fy if j else 1.0 - fy) * of_z
                    for i in range(2):
                        ix, of_x = (int(low_x) + i) % nx, (fx if i else 1.0 - fx) * of_y
                        work[iz, iy, ix] += of_x
        for k in range(nz):
            for j in range(ny):
                for i in range(nx):
                    templates[r, k, j, i] = work[k, j, i]


@njit(**KERNEL)
def best_places(  # type: ignore[no-untyped-def]
    scores, middle, corner, voxel, low, high, rotations, inner, outer, length, best, places
):
    """Find the best place for the pivot at each rotation; return number, sum and sum of squares of the scores allowed.

    Parameters
    ----------
    scores
        Shape (n_rotations, nz, ny, nx): of shifts of a template that has its pivot at ``middle``, with wrap-around.
    middle
        In voxels, (3,), order (x, y, z).
    corner, voxel
        Position of the first voxel, and the size of one, (3,), Å.
    low, high
        The pivot must lie between these, (3,), Å.
    rotations
        Shape (n_rotations, 3, 3).
    inner, outer, length
        Tethers: ends on the body about its pivot, (n, 3), what they are tied to, (n, 3), and how far they reach,
        (n,), Å.
    best, places
        Set to the best score, (n_rotations,), -inf where no place is allowed, and the pivot there, (n_rotations, 3), Å.
    """
    n_rotations, nz, ny, nx = scores.shape
    count = total = square = 0.0
    for r in range(n_rotations):
        turn = rotations[r]
        best[r] = -math.inf
        for k in range(nz):
            z = k * voxel[2] + corner[2]
            if not low[2] <= z <= high[2]:
                continue
            for j in range(ny):
                y = j * voxel[1] + corner[1]
                if not low[1] <= y <= high[1]:
                    continue
                row = scores[r, (k - middle[2]) % nz, (j - middle[1]) % ny]
                # Along a row each tether leaves an interval.
                first, last = low[0], high[0]
                for t in range(length.shape[0]):
                    a, b, c = inner[t, 0], inner[t, 1], inner[t, 2]
                    dy = y - outer[t, 1] + turn[1, 0] * a + turn[1, 1] * b + turn[1, 2] * c
                    dz = z - outer[t, 2] + turn[2, 0] * a + turn[2, 1] * b + turn[2, 2] * c
                    room = length[t] * length[t] - dy * dy - dz * dz
                    at = outer[t, 0] - turn[0, 0] * a - turn[0, 1] * b - turn[0, 2] * c
                    half = math.sqrt(room) if room >= 0.0 else -math.inf
                    first, last = max(first, at - half), min(last, at + half)
                if not first <= last:
                    continue
                begin = max(int(math.ceil((first - corner[0]) / voxel[0])), 0)
                end = min(int(math.floor((last - corner[0]) / voxel[0])) + 1, nx)
                for i in range(begin, end):
                    score = np.float64(row[(i - middle[0]) % nx])
                    count += 1.0
                    total += score
                    square += score * score
                    if score > best[r]:
                        best[r] = score
                        places[r, 0], places[r, 1], places[r, 2] = i * voxel[0] + corner[0], y, z
    return count, total, square


@njit(**KERNEL)
def score_of_pose(  # type: ignore[no-untyped-def]
    coefficients, origin, voxel, arms, weights, turn, centre, work, force, moment
):
    """Return Σ w F(r) of a body's beads; set force and moment, (3,), to its derivatives by shift and turn.

    Parameters
    ----------
    coefficients, origin, voxel
        The field F as a cubic B-spline, (nz, ny, nx), and its grid, (3,), Å.
    arms, weights
        Beads about the pivot, (n_beads, 3), Å, and their weights, (n_beads,).
    turn, centre
        The pose: rotation, (3, 3), and where the pivot is, (3,), Å.
    work
        Workspace, (2, 3, 4).
    """
    force[:] = 0.0
    moment[:] = 0.0
    total = 0.0
    for n in range(arms.shape[0]):
        a, b, c = arms[n, 0], arms[n, 1], arms[n, 2]
        x = turn[0, 0] * a + turn[0, 1] * b + turn[0, 2] * c
        y = turn[1, 0] * a + turn[1, 1] * b + turn[1, 2] * c
        z = turn[2, 0] * a + turn[2, 1] * b + turn[2, 2] * c
        value, along_x, along_y, along_z = spline_at(
            coefficients,
            (x + centre[0] - origin[0]) / voxel[0],
            (y + centre[1] - origin[1]) / voxel[1],
            (z + centre[2] - origin[2]) / voxel[2],
            work[0],
            work[1],
        )
        total += weights[n] * value
        fx, fy, fz = (
            weights[n] * along_x / voxel[0],
            weights[n] * along_y / voxel[1],
            weights[n] * along_z / voxel[2],
        )
        force[0], force[1], force[2] = force[0] + fx, force[1] + fy, force[2] + fz
        moment[0] += y * fz - z * fy
        moment[1] += z * fx - x * fz
        moment[2] += x * fy - y * fx
    return total
