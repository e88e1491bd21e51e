"""Feed damaged and hostile files to the readers: ``python -m benchmarks.fuzz --inputs 100000``.

Small valid models (PDB, mmCIF), maps (MRC), settings (TOML) and gzipped ones are mutated: bits flipped, bytes removed,
repeated and exchanged, numbers replaced by extreme ones, files cut short, header fields overwritten. Each input must be
read, or refused with an error of the input; anything else, a time above the bound, or memory above the bound is a
finding. The readers run in a process of their own, whose address space is limited and which the system ends where
an input takes too much processor time; the input is then kept.
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.random import Generator

from bayesflex.config_files import load_config
from bayesflex.errors import BayesflexError
from bayesflex.io.maps import read_map, write_map
from bayesflex.io.structures import read_structure, write_structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.workflows.simulate import simulate

#: Seconds of processor time that one input may take, and bytes that the process may take beyond what it begins with.
TIME_LIMIT, MEMORY_LIMIT = 2.0, 2**30

_ROOT = Path(__file__).resolve().parents[1]

_TOML = b"""# settings
[fit]
resolution = 5.0
modes = "7-12"
stages = [20, 12]
chains = 4
origin = "1,2,3"
anneal = true
likelihood = "marginal"
[input]
model = "a.cif"
"""

_NUMBERS = (b"0", b"-1", b"1e308", b"-1e999", b"nan", b"inf", b"99999999999999999999", b"2147483648", b"1e-320", b"")
_WORDS = (
    *(
        b"\0",
        b"\xff",
        b"\n",
        b"\r\n",
        b"'",
        b'"',
        b";",
        b"#",
        b"loop_",
        b"data_",
        b"_atom_site.id ",
        b"save_",
        b"?",
        b".",
    ),
    *(
        b"ATOM  ",
        b"HETATM",
        b"MODEL",
        b"TER",
        b"END",
        b"CONECT",
        b"[[",
        b"{",
        b"=",
        b"\xc3\xa9",
        b"\xef\xbb\xbf",
        b"1.",
    ),
)
#: Integers for the words of a map's header.
_HEADER = (0, 1, -1, 2, 3, 6, 12, 101, 1000, 1625, 32767, 65535, 65536, 2**31 - 1, -(2**31), 0x7F800000, 0x7FC00000)

READERS = {
    ".pdb": read_structure,
    ".cif": read_structure,
    ".mrc": read_map,
    ".toml": lambda path: load_config(path, {}),
}


def seeds() -> list[tuple[str, bytes]]:
    """Return small valid files by suffix."""
    whole = two_domain_protein(60)
    protein = whole.select(whole.residue_index < 12)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.pdb", "a.cif"):
            write_structure(protein, Path(folder) / name)
        write_map(simulate(protein, resolution=12.0, voxel=6.0, kernel="gaussian"), Path(folder) / "a.mrc")
        for name in ("a.pdb", "a.cif", "a.mrc"):
            content = (Path(folder) / name).read_bytes()
            suffix = Path(name).suffix
            if suffix != ".mrc":
                content = content[:6000]
            found += [(suffix, content)] * 3 + [(f"{suffix}.gz", gzip.compress(content, mtime=0))]
    return [*found, (".toml", _TOML), (".toml", _TOML)]


def mutated(rng: Generator, suffix: str, content: bytes) -> bytes:
    """Return a file with one to four things wrong."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        at, kind = int(rng.integers(len(data))), int(rng.integers(9))
        length = int(rng.integers(1, 1 + min(len(data), 200)))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at : at + length] = rng.bytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length] * int(rng.integers(1, 20))
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            data[at : at + 8] = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
        elif kind == 6:
            data[at:at] = _WORDS[int(rng.integers(len(_WORDS)))] * int(rng.choice([1, 1, 1, 2, 300]))
        elif kind == 7:
            other = int(rng.integers(len(data)))
            data[at : at + length], data[other : other + length] = (
                data[other : other + length],
                data[at : at + length],
            )
        elif suffix == ".mrc" and len(data) >= 1024:
            word = 4 * int(rng.choice([0, 1, 2, 3, 4, 7, 8, 9, 10, 16, 17, 18, 23, 26, 49, 53, int(rng.integers(56))]))
            data[word : word + 4] = np.array(_HEADER[int(rng.integers(len(_HEADER)))], "<i8").tobytes()[:4]
    return bytes(data)


def made(number: int, files: list[tuple[str, bytes]], seed: int) -> tuple[str, bytes]:
    """Return suffix and content of an input by its number."""
    rng = np.random.default_rng([seed, number])
    suffix, content = files[number % len(files)]
    if suffix.endswith(".gz") and rng.random() < 0.7:  # damaged inside, or outside
        return suffix, gzip.compress(mutated(rng, suffix[:-3], gzip.decompress(content)), 1, mtime=0)
    return suffix, mutated(rng, suffix, content)


def feed(first: int, end: int, seed: int, folder: Path) -> None:
    """Feed inputs to the readers in this process, and tell after each how many there were, in a file."""
    files = seeds()
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_LIMIT,) * 2)
    counted: Counter[str] = Counter()
    done = os.open(folder / "done", os.O_WRONLY | os.O_CREAT)
    paths = {suffix: folder / f"input{suffix}" for suffix, _ in files}
    for number in range(first, end):
        suffix, content = made(number, files, seed)
        path = paths[suffix]
        path.write_bytes(content)
        os.pwrite(done, f"{number:12d}".encode(), 0)
        signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
        try:
            READERS[suffix.removesuffix(".gz")](path)
            counted["read"] += 1
        except BayesflexError:
            counted["refused"] += 1
        except Exception:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            print(f"input {number}{suffix}:\n{traceback.format_exc()}", file=sys.stderr)
            sys.exit(3)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    print(f"{end - first} inputs: {counted['read']} read, {counted['refused']} refused")


def run(n_inputs: int, seed: int, keep: Path | None = None, at_most: int = 20) -> list[str]:
    """Feed inputs in processes of their own, a new one after each finding; return the findings."""
    findings: list[str] = []
    first = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while first < n_inputs and len(findings) < at_most:
            command = [sys.executable, "-m", "benchmarks.fuzz", "--feed", str(first), str(n_inputs), str(seed), name]
            child = subprocess.run(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True, check=False)
            if child.returncode == 0:
                break
            number = int((folder / "done").read_text()) if (folder / "done").exists() else first
            suffix, content = made(number, seeds(), seed)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{number}{suffix}").write_bytes(content)
            how = "too long" if child.returncode == -signal.SIGPROF else f"exit {child.returncode}"
            findings.append(f"input {number}{suffix}: {how}\n{child.stderr[-1500:]}")
            print(findings[-1], flush=True)
            first = number + 1
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for inputs that were findings")
    parser.add_argument("--feed", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.feed:
        first, end, seed, folder = options.feed
        feed(int(first), int(end), int(seed), Path(folder))
        return 0
    began = time.perf_counter()
    findings = run(options.inputs, options.seed, options.keep)
    print(f"{len(findings)} findings in {options.inputs} inputs, {time.perf_counter() - began:.0f} s")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
