"""The cases: a start, a map and a known answer each, from archive models and maps below BAYESFLEX_DATA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bayesflex.carrying import make_carrier
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.energy import build_prior
from bayesflex.geometry import rmsd, superimpose
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.matching import match_residues
from bayesflex.normal_modes import structure_modes
from bayesflex.steering import restored
from bayesflex.structure import Structure
from bayesflex.workflows.simulate import simulate

#: Noise of the p97 maps, in units of the clean map's own standard deviation.
_P97_NOISE = 0.5

#: A perturbed start: RMSD from the answer (Å), of which so much local noise in each direction; it goes along so many
#: modes in so many pieces, since one long straight step would tear the model.
_PERTURBED, _LOCAL_NOISE, _PERTURBING_MODES, _PIECES = 5.0, 0.3, 10, 5
_NETWORK_CUTOFF = 10.0


@dataclass(frozen=True, eq=False)
class Inputs:
    """A start, its map and the known answer."""

    start: Structure
    density: DensityMap
    answer: Structure


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Parameters
    ----------
    name
        On the command line and in the CSV.
    title
        In the page.
    resolution
        Of the map, Å: the only setting that a fit is given.
    aim
        RMSD in place asked for, Å.
    make
        Makes the inputs from the data folder and a seed.
    part
        First and last residue number of a part with an RMSD of its own, what it is called, and the aim for it, Å.
    """

    name: str
    title: str
    resolution: float
    aim: float | None
    make: Callable[[Path, int], Inputs]
    part: tuple[int, int, str, float] | None = None


def protein(structure: Structure, chain: str | None = None) -> Structure:
    """Return a model without its waters, or one chain of it."""
    keep = ~np.isin(structure.residue_name, ("HOH", "WAT", "DOD"))
    return structure.select(keep if chain is None else keep & (structure.chain == chain))


def superposed(start: Structure, answer: Structure) -> Structure:
    """Return a start moved as one onto its answer."""
    ca, answer_ca = start.trace(), answer.trace()
    match = match_residues(ca, answer_ca)
    moved = superimpose(ca.coords[match.model_index], answer_ca.coords[match.reference_index])
    return start.with_coords(start.coords @ moved.rotation.T + moved.translation)


def perturbed(structure: Structure, seed: int) -> Structure:
    """Return a model displaced along its lowest modes, its geometry restored, with local noise.

    Amplitudes are normal deviates over the root of each mode's stiffness.
    """
    rng = np.random.default_rng(seed)
    ca = structure.trace()
    modes = structure_modes(ca, _PERTURBING_MODES, _NETWORK_CUTOFF)
    way = modes.to_displacement(rng.normal(size=modes.n_modes) / np.sqrt(modes.eigenvalues))
    terms = build_prior(ca, FitConfig(resolution=10.0))
    local = rng.normal(scale=_LOCAL_NOISE, size=ca.coords.shape)
    length = np.sqrt(_PERTURBED**2 - 3.0 * _LOCAL_NOISE**2)
    step = way * (length / _PIECES / rmsd(way, np.zeros_like(way)))
    coords = ca.coords
    # Restoring gives some of the way back, so that pieces are added until the way is long enough.
    for _ in range(4 * _PIECES):
        coords = restored(coords + step, terms)
        if rmsd(coords, ca.coords) >= length:
            break
    return structure.with_coords(make_carrier(structure).carry(coords + local))


def _adk(data: Path) -> tuple[Structure, Structure]:
    return protein(read_structure(data / "adk" / "1ake.pdb"), "A"), protein(read_structure(data / "adk" / "4ake_A.pdb"))


def _adk_without_ligand(data: Path) -> tuple[Structure, Structure]:
    closed, opened = _adk(data)
    return closed.select(closed.residue_name != "AP5"), opened


def _mglur1(data: Path) -> tuple[Structure, Structure]:
    return protein(read_structure(data / "mglur1" / "1isrA.pdb")), protein(
        read_structure(data / "mglur1" / "1issA.pdb")
    )


def _groel(data: Path) -> tuple[Structure, Structure]:
    return read_structure(data / "groel" / "1oel.pdb"), read_structure(data / "groel" / "1sx4A.pdb")


def _p97(data: Path) -> tuple[Structure, Structure]:
    return read_structure(data / "p97" / "5ftm.pdb.gz"), read_structure(data / "p97" / "5ftn.pdb.gz")


def _computed(
    pair: Callable[[Path], tuple[Structure, Structure]],
    resolution: float,
    back: bool = False,
    noise: float = 0.0,
    superpose: bool = False,
) -> Callable[[Path, int], Inputs]:
    """Return what makes the map of one of two structures, from which the other is away."""

    def make(data: Path, seed: int) -> Inputs:
        start, answer = pair(data)[::-1] if back else pair(data)
        if superpose:
            start = superposed(start, answer)
        return Inputs(start, simulate(answer, resolution=resolution, noise=noise, seed=seed), answer)

    return make


def _groel_given(back: bool) -> Callable[[Path, int], Inputs]:
    def make(data: Path, seed: int) -> Inputs:
        start, answer = _groel(data)[::-1] if back else _groel(data)
        return Inputs(start, read_map(data / "groel" / ("1oel.ccp4" if back else "1sx4A.ccp4")), answer)

    return make


def _rf2(data: Path, seed: int) -> Inputs:
    folder = data / "rf2"
    return Inputs(
        read_structure(folder / "1gqe_docked.pdb"),
        read_map(folder / "emd_1010.mrc"),
        read_structure(folder / "1mi6.pdb"),
    )


def _mitoribosome(data: Path, seed: int) -> Inputs:
    answer = read_structure(data / "mitoribosome" / "3j6b_chain9.pdb")
    return Inputs(perturbed(answer, seed), read_map(data / "mitoribosome" / "emd_2566_chain9.mrc"), answer)


def _protein_dna(resolution: float) -> Callable[[Path, int], Inputs]:
    def make(data: Path, seed: int) -> Inputs:
        answer = protein(read_structure(data / "protein_dna" / "1d66.pdb"))
        return Inputs(perturbed(answer, seed), simulate(answer, resolution=resolution), answer)

    return make


_N_DOMAIN = (1, 189, "N domain", 1.2)

#: Not simulated maps: groel's 10 Å (given with the models), rf2's and mitoribosome's (real).
CASES = (
    Case("adk-open-5", "AdK 1AKE → 4AKE", 5.0, 0.6, _computed(_adk, 5.0, superpose=True)),
    Case("adk-close-5", "AdK 4AKE → 1AKE", 5.0, 0.6, _computed(_adk, 5.0, True, superpose=True)),
    Case("adk-open-10", "AdK 1AKE → 4AKE", 10.0, 1.0, _computed(_adk, 10.0, superpose=True)),
    Case("adk-close-10", "AdK 4AKE → 1AKE", 10.0, 1.0, _computed(_adk, 10.0, True, superpose=True)),
    Case(
        "adk-close-apo-5",
        "AdK 4AKE → 1AKE, map without its ligand",
        5.0,
        0.6,
        _computed(_adk_without_ligand, 5.0, True, superpose=True),
    ),
    Case(
        "adk-close-apo-10",
        "AdK 4AKE → 1AKE, map without its ligand",
        10.0,
        1.0,
        _computed(_adk_without_ligand, 10.0, True, superpose=True),
    ),
    Case("mglur1-open-6", "mGluR1 1ISR → 1ISS", 6.0, 0.8, _computed(_mglur1, 6.0)),
    Case("mglur1-close-6", "mGluR1 1ISS → 1ISR", 6.0, 0.8, _computed(_mglur1, 6.0, True)),
    Case("mglur1-open-10", "mGluR1 1ISR → 1ISS", 10.0, None, _computed(_mglur1, 10.0)),
    Case("mglur1-close-10", "mGluR1 1ISS → 1ISR", 10.0, None, _computed(_mglur1, 10.0, True)),
    Case("groel-open-10", "GroEL 1OEL → 1SX4, map given", 10.0, 1.0, _groel_given(False)),
    Case("groel-close-10", "GroEL 1SX4 → 1OEL, map given", 10.0, 1.0, _groel_given(True)),
    Case("groel-open-5", "GroEL 1OEL → 1SX4", 5.0, None, _computed(_groel, 5.0)),
    Case("groel-close-5", "GroEL 1SX4 → 1OEL", 5.0, None, _computed(_groel, 5.0, True)),
    Case("p97-up-5", "p97 5FTM → 5FTN", 5.0, 1.0, _computed(_p97, 5.0, noise=_P97_NOISE), _N_DOMAIN),
    Case("p97-down-5", "p97 5FTN → 5FTM", 5.0, None, _computed(_p97, 5.0, True, noise=_P97_NOISE), _N_DOMAIN),
    Case("p97-up-10", "p97 5FTM → 5FTN", 10.0, None, _computed(_p97, 10.0, noise=_P97_NOISE), _N_DOMAIN),
    Case("p97-down-10", "p97 5FTN → 5FTM", 10.0, None, _computed(_p97, 10.0, True, noise=_P97_NOISE), _N_DOMAIN),
    Case("rf2", "RF2 1GQE → EMD-1010, real map", 11.0, 5.0, _rf2, (4, 114, "domain 1", 5.0)),
    Case("mitoribosome", "mitoribosomal chain, real map, perturbed", 3.2, 1.0, _mitoribosome),
    Case("protein_dna-5", "GAL4 with DNA, perturbed", 5.0, 1.0, _protein_dna(5.0)),
    Case("protein_dna-10", "GAL4 with DNA, perturbed", 10.0, None, _protein_dna(10.0)),
)
