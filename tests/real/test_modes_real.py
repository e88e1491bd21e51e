"""Normal modes of p97, whose motions are known: six N domains that go up together, one after the other, or not."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from bayesflex.chain import bonded_to_next, pairs_along_chain
from bayesflex.normal_modes import normal_modes, overlap
from bayesflex.structure import Structure


def read_ca(path: Path) -> dict[tuple[str, int], list[float]]:
    model = gemmi.read_structure(str(path))[0]
    return {
        (site.chain.name, site.residue.seqid.num): site.atom.pos.tolist()
        for site in model.all()
        if site.atom.name == "CA" and site.atom.element.name == "C"
    }


def superposed(mobile: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Kabsch, so that the displacement holds no motion of the whole."""
    a, b = mobile - mobile.mean(axis=0), target - target.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return a @ u @ vt + target.mean(axis=0)


@pytest.fixture(scope="module")
def p97(data_dir: Path) -> tuple[Structure, np.ndarray]:
    """CA trace of 5FTM and its displacement to 5FTN, both over the residues of 5FTM."""
    start, end = (read_ca(data_dir / "p97" / f"{name}.pdb.gz") for name in ("5ftm", "5ftn"))
    coords = np.array(list(start.values()))
    n = len(coords)
    ca = Structure(
        coords=coords,
        element=np.full(n, "C"),
        atom_name=np.full(n, "CA"),
        residue_name=np.full(n, "ALA"),
        residue_number=np.array([number for _, number in start]),
        insertion_code=np.full(n, ""),
        chain=np.array([chain for chain, _ in start]),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.zeros(n, dtype=bool),
    )
    return ca, superposed(np.array([end[key] for key in start]), coords) - coords


@pytest.mark.parametrize("cutoff", [10.0, 15.0])
def test_mode_10_lifts_all_domains_and_mode_9_in_alternation(p97: tuple[Structure, np.ndarray], cutoff: float):
    ca, displacement = p97
    modes = normal_modes(ca.coords, 6, cutoff)
    overlaps = {int(number): overlap(v, displacement) for number, v in zip(modes.numbers, modes.vectors, strict=True)}
    assert overlaps[10] == pytest.approx(0.7, abs=0.03)
    assert overlaps[9] < 0.02
    # Mode 10 does the same in each of the six subunits, mode 9 the opposite in neighbours.
    along = np.stack([np.sum(v * displacement, axis=1) for v in modes.vectors[[2, 3]]])
    subunits = np.stack([along[:, ca.chain == name].sum(axis=1) for name in "ABCDEF"], axis=1)
    assert np.all(subunits[1] > 0.0) or np.all(subunits[1] < 0.0)
    assert np.count_nonzero(subunits[0] > 0.0) == 3
    assert not any("collectivity" in note for note in modes.notes)


@pytest.mark.parametrize("cutoff", [10.0, pytest.param(15.0, marks=pytest.mark.slow)])
def test_blocks_find_what_a_factor_finds(p97: tuple[Structure, np.ndarray], cutoff: float):
    ca, _ = p97
    links = pairs_along_chain(bonded_to_next(ca))
    direct, blocks = (normal_modes(ca.coords, 20, cutoff, links=links, method=name) for name in ("factor", "blocks"))
    assert "rotation-translation blocks" in blocks.notes[0]
    assert blocks.eigenvalues == pytest.approx(direct.eigenvalues, rel=1e-6)
    held = np.linalg.norm(blocks.vectors.reshape(20, -1) @ direct.vectors[:10].reshape(10, -1).T, axis=0)
    assert held == pytest.approx(np.ones(10), abs=1e-7)


def test_a_thin_network_has_spurious_modes_that_links_along_the_chain_remove(p97: tuple[Structure, np.ndarray]):
    ca, displacement = p97
    thin = normal_modes(ca.coords, 6, 8.0)
    assert thin.collectivity.max() < 0.02
    assert "modes 7, 8, 9, 10, 11, 12 have a collectivity below 0.05" in thin.notes[0]
    linked = normal_modes(ca.coords, 6, 8.0, links=pairs_along_chain(bonded_to_next(ca)))
    assert linked.collectivity.min() > 0.1
    assert max(overlap(v, displacement) for v in linked.vectors) > 0.5


def test_many_modes_of_a_symmetric_assembly_are_orthonormal(p97: tuple[Structure, np.ndarray]):
    ca, _ = p97
    modes = normal_modes(ca.coords, 26, 10.0)
    rows = modes.vectors.reshape(26, -1)
    assert np.abs(rows @ rows.T - np.eye(26)).max() < 1e-10
    assert np.all(np.diff(modes.eigenvalues) >= 0.0)
