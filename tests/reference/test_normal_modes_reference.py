"""Normal modes against a plain dense implementation, and against ProDy where it installs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator

from bayesflex.elastic_network import network_hessian
from bayesflex.io.nmd import write_nmd
from bayesflex.normal_modes import normal_modes
from gradients.test_energy_gradients import trace

CUTOFF = 12.0


def chain(rng: Generator, n: int = 150) -> np.ndarray:
    """A random walk of 3.8 Å steps that stays in a ball and keeps 4 Å from itself."""
    coords = [np.zeros(3)]
    while len(coords) < n:
        for _ in range(200):
            step = rng.standard_normal(3) - 0.06 * coords[-1]
            trial = coords[-1] + 3.8 * step / np.linalg.norm(step)
            if all(np.linalg.norm(trial - other) > 4.0 for other in coords[:-1]):
                coords.append(trial)
                break
        else:
            coords = coords[: len(coords) // 2]
    return np.array(coords)


def plain_hessian(coords, cutoff, links=(), link_stiffness=1.0):
    """Eq. 4 to 6 of Atilgan et al. (2001), pair by pair."""
    n = len(coords)
    hessian = np.zeros((n, 3, n, 3))
    stiff = {tuple(sorted(pair)) for pair in links}
    for i in range(n):
        for j in range(i + 1, n):
            d = coords[j] - coords[i]
            if (i, j) not in stiff and d @ d > cutoff**2:
                continue
            block = (link_stiffness if (i, j) in stiff else 1.0) * np.outer(d, d) / (d @ d)
            hessian[i, :, j] -= block
            hessian[j, :, i] -= block
            hessian[i, :, i] += block
            hessian[j, :, j] += block
    return hessian.reshape(3 * n, 3 * n)


@pytest.mark.parametrize("linked", [False, True])
def test_hessian_and_modes_of_the_plain_implementation(linked: bool, rng: Generator):
    coords = chain(rng)
    links = [(i, i + k) for k in (1, 2, 3) for i in range(0, len(coords) - k, 2)] + [(0, 149)] if linked else []
    given = {"links": np.array(links)[:, ::-1], "link_stiffness": 7.0} if linked else {}
    plain = plain_hessian(coords, CUTOFF, links, 7.0)
    assert network_hessian(coords, CUTOFF, **given).toarray() == pytest.approx(plain, abs=1e-12)
    eigenvalues, vectors = np.linalg.eigh(plain)
    modes = normal_modes(coords, 20, CUTOFF, **given)
    assert modes.eigenvalues == pytest.approx(eigenvalues[6:26], rel=1e-9)
    cosines = np.abs(np.sum(modes.vectors.reshape(20, -1) * vectors[:, 6:26].T, axis=1))
    assert cosines == pytest.approx(np.ones(20), abs=1e-7)


def test_modes_of_prody(rng: Generator):
    prody = pytest.importorskip("prody")
    coords = chain(rng)
    prody.confProDy(verbosity="none")
    anm = prody.ANM("chain")
    anm.buildHessian(coords, cutoff=CUTOFF)
    anm.calcModes(n_modes=10)
    modes = normal_modes(coords, 10, CUTOFF)
    assert modes.eigenvalues == pytest.approx(anm.getEigvals(), rel=1e-6)
    cosines = np.abs(np.sum(modes.vectors.reshape(10, -1) * anm.getEigvecs().T, axis=1))
    assert cosines == pytest.approx(np.ones(10), abs=1e-5)
    ours = [float(value) for value in modes.collectivity]
    assert ours == pytest.approx([float(prody.calcCollectivity(mode)) for mode in anm], rel=1e-5)


def test_prody_reads_the_file_of_modes(tmp_path: Path, rng: Generator):
    prody = pytest.importorskip("prody")
    ca = trace(chain(rng, 40))
    modes = normal_modes(ca.coords, 5, 20.0)
    write_nmd(tmp_path / "modes.nmd", ca, modes)
    read, atoms = prody.parseNMD(str(tmp_path / "modes.nmd"))
    assert atoms.getCoords() == pytest.approx(ca.coords, abs=6e-4)
    assert read.getArray().T.reshape(5, 40, 3) == pytest.approx(modes.vectors, abs=1e-6)
    assert read.getEigvals() == pytest.approx(modes.eigenvalues, rel=1e-4)
