"""FitConfig: every setting of a fit, checked once when made.

What a setting means, what it may be and where the help shows it stands beside it in :class:`FitConfig`; the command
line and the reference page are made from that. Files that hold settings are those of ``config_files``. Not to be
confused with the inputs (model, map, mask), which are arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from itertools import pairwise

from bayesflex.errors import ConfigError
from bayesflex.settings import about, checked, not_negative, positive, wrong

#: Mode numbers are counted as the field does: 1-6 move the whole, the first internal one is 7.
FIRST_MODE = 7

#: What a pose is written as.
POSE_FORM = "six numbers with commas between them: rotation vector in radians, translation in Å"

#: Word for modes whose number is chosen by prediction; stored as no numbers at all.
AUTO_MODES = "auto"

#: More modes than anyone wants, so that a slip of the finger does not fill the memory.
_MOST_MODES = 10_000


@dataclass(frozen=True)
class FitConfig:
    """Settings of one fit. Lengths in Å, energies in kcal/mol, temperature in K.

    Each field's meaning and range stand in its metadata, see ``settings``. No ``modes`` at all means that their number
    is chosen by prediction.

    Raises
    ------
    ConfigError
        If a value has the wrong type or lies outside its range.
    """

    resolution: float = field(metadata=positive("Resolution of the map, Å."))

    # What moves
    deformation: str = field(
        default="combined",
        metadata=about(
            "What moves: every CA by itself (local), normal modes (global), or both (combined).",
            choices=("local", "global", "combined"),
        ),
    )
    modes: tuple[int, ...] = field(
        default=tuple(range(FIRST_MODE, FIRST_MODE + 10)),
        metadata=about(
            "Normal modes: how many from mode 7 on (10), a range (7-12), a list (7,9,12), or auto to have their number "
            "chosen by what trial fits predict."
        ),
    )
    rigid: bool = field(default=False, metadata=about("Let the whole model turn and shift as well."))

    domain_motions: str = field(
        default="auto",
        metadata=about(
            "Let each dynamical domain turn and shift as a rigid body, linkers bending (on), or not (off); auto is on "
            "in local and global, which reach farther with it, and off in combined, which does not.",
            choices=("auto", "on", "off"),
        ),
    )

    # Where the model is
    dock: bool = field(
        default=False,
        metadata=about("Find the model's place in the map before the fit, wherever it is and however it is turned."),
    )
    pose: tuple[float, ...] = field(
        default=(),
        metadata=about(
            "Where docking found the model, for a repetition without a search: rotation vector (radians) and "
            "translation (Å) of x → R x + t, six numbers; by default searched for.",
            "map",
        ),
    )

    # How long
    chains: int = field(default=4, metadata=about("Independent chains, run at the same time.", minimum=1))
    iterations: int = field(
        default=100, metadata=about("Draws kept per chain, after the warm-up; one trajectory each.", minimum=1)
    )
    seed: int = field(default=1, metadata=about("Seed of every random number of the run.", minimum=0))
    threads: int = field(
        default=0,
        metadata=about("Threads to use; 0 for all cores.", minimum=0),
    )

    # Likelihood
    likelihood: str = field(
        default="marginal",
        metadata=about(
            "Noise model: marginal integrates out the map's scale, offset and noise level; half-maps, taken where they "
            "are given, has the noise from them, in Fourier shells; gaussian is the paper's.",
            "likelihood",
            choices=("marginal", "half-maps", "gaussian"),
        ),
    )
    sigma: float | None = field(
        default=None,
        metadata=positive("Standard deviation of a bead's density, Å; by default from the resolution.", "likelihood"),
    )
    bead: str = field(
        default="auto",
        metadata=about(
            "What a residue scatters: a unit bead on its CA (ca, the paper's), one at its centroid (centroid), or one "
            "for the backbone and one or more for the side chain (parts); auto is ca where sigma is given and parts "
            "elsewhere.",
            "likelihood",
            choices=("auto", "ca", "centroid", "parts"),
        ),
    )
    b_factors: bool = field(
        default=False,
        metadata=about(
            "Widen what a residue scatters by the B-factors of its atoms, in up to four classes.", "likelihood"
        ),
    )
    noise_sd: float = field(
        default=0.3,
        metadata=positive("Noise of the gaussian likelihood, in units of a bead's peak.", "likelihood"),
    )
    floor: float = field(
        default=0.1,
        metadata=positive("Model error of the marginal likelihood, a fraction of the map.", "likelihood"),
    )
    floor_observations: float = field(
        default=10.0,
        metadata=positive("Number of observations that the model error counts for.", "likelihood"),
    )
    observations: str = field(
        default="resolution",
        metadata=about(
            "How many observations the map's region holds: counted from volume and resolution (resolution), each voxel "
            "one (voxels, for noise without correlation alone), or a number.",
            "likelihood",
        ),
    )
    copies: int = field(
        default=1,
        metadata=about("Symmetry-equivalent copies inside the scored region.", "likelihood", minimum=1),
    )
    region_margin: float = field(
        default=10.0, metadata=positive("The scored region reaches this far from the start model, Å.", "likelihood")
    )
    contour: float | None = field(
        default=None, metadata=about("Voxels above this map value belong to the scored region too.", "likelihood")
    )
    evaluation: str = field(
        default="auto",
        metadata=about(
            "How the map overlap is computed: on the grid (grid), from pairs of beads (pairs), or as counted to cost "
            "less (auto); one for all stages, or a list with one for each (grid,pairs).",
            "likelihood",
        ),
    )

    # Prior
    temperature: float = field(default=300.0, metadata=positive("Temperature of the structural prior, K.", "prior"))
    centre_sd: float = field(
        default=30.0, metadata=positive("The model's centre stays about where it starts, within this, Å.", "prior")
    )
    bond_constant: float = field(default=40.0, metadata=not_negative("Stiffness of CA-CA bonds, kcal/mol/Å².", "prior"))
    angle_constant: float = field(
        default=10.0, metadata=not_negative("Stiffness of CA-CA-CA angles, kcal/mol/rad².", "prior")
    )
    dihedral_constant: float = field(
        default=1.0, metadata=not_negative("Depth of the CA dihedral potential, kcal/mol.", "prior")
    )
    #: Then helices of a draw of the prior differ from the start as those of two conformations do (docs/method.md).
    helix_stiffness: float = field(
        default=4.0,
        metadata=positive("How many times as stiff angles and dihedrals within α-helices are as elsewhere.", "prior"),
    )
    excluded_volume: float = field(
        default=1.0, metadata=not_negative("Strength of the repulsion between CA that are not bonded.", "prior")
    )
    contact_energy: float = field(
        default=0.3, metadata=not_negative("Depth of a native contact's well, kcal/mol; 0 for none.", "prior")
    )
    contact_cutoff: float = field(
        default=10.0,
        metadata=positive("CA closer than this in the start model are native contacts, Å; C4' add 4 each.", "prior"),
    )
    network_cutoff: float = field(
        default=10.0, metadata=positive("Cut-off of the elastic network whose modes are used, Å.", "prior")
    )

    # Sampler
    steps: int = field(
        default=20,
        metadata=about(
            "Steps of a trajectory, a gradient each, on average; where the step adapts to less than expected there are "
            "more of them, so that trajectories keep their length.",
            "sampler",
            minimum=1,
        ),
    )
    target_acceptance: float = field(
        default=0.8,
        metadata=about(
            "Acceptance that the step size is adapted to.", "sampler", minimum=0.0, maximum=1.0, open_interval=True
        ),
    )
    temperatures: tuple[float, ...] = field(
        default=(),
        metadata=positive(
            "Replica exchange: temperatures of the likelihood (1,1.5,2,3), or how many at most (8); by default none.",
            "sampler",
        ),
    )

    # Warm-up
    anneal: bool = field(default=True, metadata=about("Warm up through blurred maps, coarse to fine.", "warm-up"))
    stages: tuple[float, ...] = field(
        default=(),
        metadata=positive(
            "Resolutions of the blurred stages, Å, coarse to fine (20,12,8); by default chosen from the model.",
            "warm-up",
        ),
    )
    stage_iterations: int = field(default=40, metadata=about("Iterations of each blurred stage.", "warm-up", minimum=1))
    warmup_iterations: int = field(
        default=60, metadata=about("Iterations of warm-up at the resolution asked for.", "warm-up", minimum=1)
    )
    domains: bool = field(
        default=True,
        metadata=about(
            "Search the map for the pose of domains that steering leaves outside of their density, and turn domains "
            "when every second chain is steered.",
            "warm-up",
        ),
    )
    side_chains: bool = field(
        default=True,
        metadata=about(
            "Let what side chains scatter settle in the map before the chains run, instead of riding where the start "
            "model has it.",
            "warm-up",
        ),
    )
    unmodelled: bool = field(
        default=True,
        metadata=about(
            "Account for density that no part of the model explains (a ligand that it lacks), so that it does not pull "
            "at the model.",
            "warm-up",
        ),
    )
    average_copies: bool = field(
        default=True,
        metadata=about(
            "Let chains of one sequence begin the last stage of the warm-up alike, where that has the higher "
            "posterior density; draws are free.",
            "warm-up",
        ),
    )
    recompute_modes: bool = field(
        default=True, metadata=about("Recompute the normal modes after each stage of the warm-up.", "warm-up")
    )

    # Map
    voxel: float | None = field(
        default=None, metadata=positive("Voxel size, Å, in place of the one in the map's header.", "map")
    )
    origin: str | None = field(
        default=None,
        metadata=about("Placement of the map: nstart, origin (header fields), or x,y,z in Å.", "map"),
    )
    crop_margin: float = field(
        default=30.0, metadata=positive("The map is cropped to this distance around the model, Å.", "map")
    )

    # Output
    uncertainty_as_b_factors: bool = field(
        default=False,
        metadata=about(
            "Write the uncertainty of each residue as the B-factors of fitted.cif and fitted.pdb.",
            "output",
        ),
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            # A whole number is a fine value for a length, and a list for a tuple: stored in one form each.
            object.__setattr__(self, item.name, checked(item, getattr(self, item.name)))
        _check_modes(self.modes)
        if not self.modes and self.deformation == "local":
            raise ConfigError(
                "modes: auto chooses a number of modes, and deformation local has none. "
                "Leave out --modes auto, or --deformation local."
            )
        _check_stages(self.stages, self.resolution)
        _check_temperatures(self.temperatures)
        _check_pose(self.pose, self.dock)
        _check_observations(self.observations)
        if self.origin is not None:
            _check_origin(self.origin)
        if self.evaluation != "auto" and not set(self.evaluation.split(",")) <= {"grid", "pairs"}:
            raise wrong("evaluation", "auto, grid, pairs, or a list of grid and pairs (grid,pairs)", self.evaluation)


def parse_modes(text: str) -> tuple[int, ...]:
    """Return the mode numbers that a text names: "10" is 7 to 16, "7-10" a range, "7,9,12" a list; "auto" is none.

    Raises
    ------
    ConfigError
        If the text is not of these forms, or names no internal mode.
    """
    if text.strip() == AUTO_MODES:
        return ()
    expected = f"a count (10), a range (7-12) or a list (7,9,12) of at most {_MOST_MODES} modes, or {AUTO_MODES}"
    parts = [part.strip() for part in text.split(",")]
    ranges = []
    try:
        if len(parts) == 1 and parts[0].isdecimal():
            ranges.append(range(FIRST_MODE, FIRST_MODE + int(parts[0])))
        else:
            for part in parts:
                first, dash, last = part.partition("-")
                ranges.append(range(int(first), int(last if dash else first) + 1))
    except ValueError:
        raise wrong("modes", expected, text) from None
    if any(numbers.stop - numbers.start > _MOST_MODES for numbers in ranges):
        raise wrong("modes", expected, text)
    modes = tuple(mode for numbers in ranges for mode in numbers)
    if not modes:
        raise wrong("modes", "at least one mode", text)
    _check_modes(modes, shown=text)
    return modes


def _check_modes(modes: tuple[int, ...], shown: object = None) -> None:
    shown = modes if shown is None else shown
    if min(modes, default=FIRST_MODE) < FIRST_MODE:
        raise ConfigError(
            f"modes: expected numbers from {FIRST_MODE} on, got {shown!r}. "
            "Modes 1 to 6 move the whole model: give --rigid for these."
        )
    if len(set(modes)) < len(modes):
        raise wrong("modes", "each mode once", shown)


def _check_stages(stages: tuple[float, ...], resolution: float) -> None:
    if any(later >= earlier for earlier, later in pairwise(stages)):
        raise wrong("stages", "resolutions from coarse to fine, each below the one before", stages)
    if stages and stages[-1] <= resolution:
        raise wrong("stages", f"resolutions coarser than the last one, which is resolution = {resolution:g} Å", stages)


def _check_observations(observations: str) -> None:
    if observations in ("resolution", "voxels"):
        return
    try:
        number = float(observations)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 1.0):
        raise wrong("observations", "resolution, voxels, or a number of at least 1", observations)


def _check_temperatures(temperatures: tuple[float, ...]) -> None:
    if len(temperatures) == 1 and not temperatures[0].is_integer():
        raise wrong("temperatures", "a whole number of temperatures, or several of them from 1 on", temperatures)
    if len(temperatures) > 1 and (
        temperatures[0] != 1.0 or any(later <= earlier for earlier, later in pairwise(temperatures))
    ):
        raise wrong("temperatures", "temperatures that rise from 1 on (1,1.5,2,3), or how many", temperatures)


def _check_pose(pose: tuple[float, ...], dock: bool) -> None:
    if pose and len(pose) != 6:
        raise wrong("pose", POSE_FORM, pose)
    if pose and not dock:
        raise ConfigError("pose: it says where docking put the model, and has no meaning without --dock. Give both.")


def _check_origin(origin: str) -> None:
    if origin in ("nstart", "origin"):
        return
    try:
        position = [float(part) for part in origin.split(",")]
    except ValueError:
        position = []
    if len(position) != 3 or not all(math.isfinite(part) for part in position):
        raise wrong("origin", "nstart, origin, or three finite numbers x,y,z in Å", origin)
