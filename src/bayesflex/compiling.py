"""How kernels are compiled: the options that all of them share, chosen so that the first run does not wait for long.

A kernel is compiled when it is called first, and kept in Numba's cache for later runs. What costs time then is not what
a kernel computes but what comes with it: a function to be called from C, and the counting of references to every array
that it is handed, ten arrays at a time where they come in tuples. Kernels neither make nor keep arrays.
"""

from __future__ import annotations

from typing import Any

_COMMON = {"cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}

#: Of kernels that make arrays. Said outright: without, the option is that of the kernel that calls first.
ALLOCATING: dict[str, Any] = {**_COMMON, "_nrt": True}

#: Of all others: whoever calls them keeps their arrays alive. Numba refuses to compile one that makes an array.
KERNEL: dict[str, Any] = {**_COMMON, "_nrt": False}

#: Of what is only a part of kernels. It is put into each place that calls it, and compiled by itself only where Python
#: calls it: a function of its own would be optimised, and translated, once for itself and once for each caller.
PART: dict[str, Any] = {**KERNEL, "inline": "always"}
