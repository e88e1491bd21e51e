"""The task behind ``bayesflex get``: models and maps from the public archives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bayesflex.io.accessions import fetch, find_entry
from bayesflex.io.output_folder import make_folder


def get_entries(
    names: Sequence[str],
    folder: Path,
    say: Callable[[str], None],
    bases: Mapping[str, str] | None = None,
) -> list[Path]:
    """Download entries of the PDB and the EMDB, unless they are there already.

    Parameters
    ----------
    names
        Accessions, such as "5ftm" and "emd-3299". All are looked at before any is downloaded.
    folder
        Where the files go; made where it is not there. Other files in it are left as they are.
    say
        Told what is done.
    bases
        Base addresses by the name of the archive, see :func:`bayesflex.io.accessions.find_entry`.

    Returns
    -------
    list of Path
        The files, in the order of the names.

    Raises
    ------
    InputError
        If a name is no accession, or an entry cannot be had; those before it are kept.
    """
    entries = [find_entry(name, bases) for name in names]
    make_folder(folder)
    return [fetch(entry, folder, say) for entry in entries]
