"""Blocks of beads, their rigid motions, and the preconditioner that is built on them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator

from bayesflex import synthetic
from bayesflex.block_preconditioner import BlockPreconditioner
from bayesflex.chain import bonded_to_next, pairs_along_chain
from bayesflex.elastic_network import network_hessian
from bayesflex.normal_modes import rigid_motions
from bayesflex.rotation_translation_blocks import Blocks, block_motions, make_blocks, project_hessian

CUTOFF = 10.0


@pytest.fixture(scope="module")
def protein() -> tuple[np.ndarray, np.ndarray]:
    """Positions and links along the chains of a ring of 312 CA."""
    ca = synthetic.hexamer(52).ca_trace()
    return ca.coords, pairs_along_chain(bonded_to_next(ca))


def test_blocks_are_consecutive_and_end_with_the_chain(protein):
    coords, _ = protein
    blocks = make_blocks(coords, 8, 4.5)
    assert blocks.order.tolist() == list(range(312))
    sizes = np.diff(blocks.start)
    assert sizes.min() >= 7
    assert sizes.max() <= 9
    assert set(range(0, 313, 52)) <= set(blocks.start.tolist())
    assert blocks.labels.tolist() == np.repeat(np.arange(blocks.n_blocks), sizes).tolist()


def test_beads_apart_from_any_chain_go_to_the_nearest_block(protein):
    coords, _ = protein
    far = coords[[100, 200]] + [0.0, 0.0, 100.0]
    mixed = np.concatenate([coords[:52], coords[100:101] + [0.0, 0.0, 3.0], coords[52:], far])
    blocks = make_blocks(mixed, 8, 4.5)
    assert sorted(blocks.order.tolist()) == list(range(315))
    label = np.empty(315, dtype=int)
    label[blocks.order] = blocks.labels
    others = np.delete(np.arange(315), [52, 313, 314])
    for bead in (52, 313, 314):
        nearest = others[np.argmin(np.linalg.norm(mixed[others] - mixed[bead], axis=1))]
        assert label[bead] == label[nearest]
    assert np.all(np.diff(label[others]) >= 0)


def test_blocks_of_beads_in_no_order_are_compact(protein, rng: Generator):
    coords, _ = protein
    shuffled = coords[rng.permutation(len(coords))]
    blocks = make_blocks(shuffled, 8, 10.0)
    assert sorted(blocks.order.tolist()) == list(range(312))
    assert np.diff(blocks.start).tolist() == [8] * 39
    extent = [np.ptp(shuffled[part], axis=0).max() for part in np.split(blocks.order, blocks.start[1:-1])]
    assert max(extent) < 0.4 * np.ptp(coords, axis=0).max()


def test_split_blocks_are_parts_of_the_whole_ones():
    blocks = Blocks(np.arange(30), np.array([0, 5, 12, 30])).split(6)
    assert np.diff(blocks.start).max() <= 6
    assert {0, 5, 12, 30} <= set(blocks.start.tolist())
    assert blocks.n_blocks == 1 + 2 + 3


def test_block_motions_are_orthonormal_and_hold_those_of_the_whole(protein):
    coords, _ = protein
    motions = block_motions(coords, make_blocks(coords, 8, 4.5)).toarray()
    assert np.allclose(motions.T @ motions, np.eye(motions.shape[1]), atol=1e-10)
    rigid = rigid_motions(coords).reshape(6, -1).T
    assert np.allclose(motions @ (motions.T @ rigid), rigid, atol=1e-10)


def test_a_block_does_not_stretch_when_it_moves(protein):
    coords, _ = protein
    blocks = make_blocks(coords, 8, 4.5)
    motions = block_motions(coords, blocks).toarray().reshape(-1, 3, 6 * blocks.n_blocks)
    first, second = np.triu_indices(int(blocks.start[1]), 1)
    along = np.einsum("pk,pkm->pm", coords[second] - coords[first], motions[second] - motions[first])
    assert np.abs(along).max() < 1e-9


def test_beads_on_a_line_turn_in_two_ways():
    coords = np.arange(4)[:, None] * np.array([1.0, 2.0, 2.0])
    coords = np.concatenate([coords, coords + [0.0, 9.0, 1.0]])
    coords[5, 0] += 2.0  # the second block bends
    blocks = Blocks(np.arange(8), np.array([0, 4, 8]))
    motions = block_motions(coords, blocks)
    assert np.sort(np.linalg.norm(motions.toarray(), axis=0)) == pytest.approx([0.0] + [1.0] * 11)
    empty = int(np.argmin(np.linalg.norm(motions.toarray(), axis=0)))
    assert empty < 6
    projected = project_hessian(network_hessian(coords, 20.0), motions).toarray()
    assert projected[empty, empty] == np.delete(np.diag(projected), empty).max()
    assert np.count_nonzero(projected[empty]) == 1


def test_projected_hessian(protein):
    coords, links = protein
    hessian = network_hessian(coords, CUTOFF, links)
    motions = block_motions(coords, make_blocks(coords, 8, CUTOFF))
    dense = motions.toarray()
    assert np.allclose(project_hessian(hessian, motions).toarray(), dense.T @ hessian.toarray() @ dense, atol=1e-10)


@pytest.mark.parametrize("size", [8, 60])
def test_preconditioner_is_symmetric_and_near_the_inverse(protein, size: int):
    """With blocks of 60 beads the sweep takes parts of them."""
    coords, links = protein
    hessian = network_hessian(coords, CUTOFF, links)
    shift = 1e-3 * float(hessian.diagonal().mean())
    preconditioner = BlockPreconditioner(hessian, coords, make_blocks(coords, size, CUTOFF), shift)
    vectors = np.eye(len(coords) * 3)
    assert np.allclose(preconditioner.multiply(vectors), hessian.toarray(), atol=1e-12)
    inverse = preconditioner(vectors)
    assert np.allclose(inverse, inverse.T, atol=1e-8 * np.abs(inverse).max())
    # One column alone takes another way.
    assert np.allclose(preconditioner(vectors[:, 7:8]), inverse[:, 7:8], atol=1e-12 * np.abs(inverse).max())
    # The spectrum of M H, M ≈ H⁻¹: exact solves in subspaces never overshoot, and a narrow one makes a search short.
    internal = np.linalg.svd(rigid_motions(coords).reshape(6, -1))[2][6:]
    root = np.linalg.cholesky(internal @ inverse @ internal.T)
    stiffness = internal @ hessian.toarray() @ internal.T
    spectrum = np.linalg.eigvalsh(root.T @ stiffness @ root)
    assert spectrum[-1] < 1.0
    assert np.linalg.cond(stiffness) > 1e4
    assert spectrum[-1] / spectrum[0] < 100.0


def test_coarse_modes_are_close_to_the_modes(protein):
    coords, links = protein
    hessian = network_hessian(coords, CUTOFF, links)
    rigid = rigid_motions(coords).reshape(6, -1).T
    scale = float(hessian.diagonal().mean())
    columns = BlockPreconditioner(hessian, coords, make_blocks(coords, 8, CUTOFF), 1e-6 * scale).coarse_modes(rigid, 20)
    assert np.allclose(columns.T @ columns, np.eye(20), atol=1e-9)
    assert np.abs(rigid.T @ columns).max() < 1e-9
    exact = np.linalg.eigh(hessian.toarray())[1][:, 6:16]
    assert np.linalg.norm(columns.T @ exact, axis=0).min() > 0.9
