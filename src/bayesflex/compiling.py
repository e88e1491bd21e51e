"""How kernels are compiled: the options that all of them share, chosen so that the first run does not wait for long.

A kernel is compiled when it is called first, and kept in Numba's cache for later runs. What costs time then is not what
a kernel computes but what comes with it: a function to be called from C, and the counting of references to every array
that it is handed, ten arrays at a time where they come in tuples. Kernels neither make nor keep arrays. Nor do they
hold closures, or arithmetic on whole arrays: looking for these, to rewrite them, takes a thirtieth of the time.

Nor is there anything to find for Python's collector of cyclic garbage while Numba compiles: millions of small objects,
all of them in use. Going through them again and again takes an eighth of the time, so that it waits meanwhile.
"""

from __future__ import annotations

import gc
import threading
from typing import Any

from numba.core import event
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes


class _KernelCompiler(CompilerBase):  # type: ignore[misc]  # Numba comes without types
    """Numba's compiler without the steps that find nothing in a kernel."""

    def define_pipelines(self) -> list[PassManager]:
        usual = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline = PassManager(usual.pipeline_name)
        for step, what in usual.passes:
            if step not in (InlineClosureLikes, NopythonRewrites):
                pipeline.add_pass(step, what)
        pipeline.finalize()
        return [pipeline]


_COMMON = {"cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}

#: Of kernels that make arrays. Said outright: without, the option is that of the kernel that calls first.
ALLOCATING: dict[str, Any] = {**_COMMON, "_nrt": True}

#: Of all others: whoever calls them keeps their arrays alive. Numba refuses to compile one that makes an array.
KERNEL: dict[str, Any] = {**_COMMON, "_nrt": False, "pipeline_class": _KernelCompiler}

#: Of what is only a part of kernels. It is put into each place that calls it, and compiled by itself only where Python
#: calls it: a function of its own would be optimised, and translated, once for itself and once for each caller.
PART: dict[str, Any] = {**KERNEL, "inline": "always"}


class _CollectorWaits(event.Listener):  # type: ignore[misc]  # Numba comes without types
    """Turns the collector off when Numba begins to compile, and on again after the last of what it compiles for that.

    A kernel that calls another one has it compiled meanwhile. Where the collector was off, it stays so.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._was_on = False

    def on_start(self, event: event.Event) -> None:
        with self._lock:
            if self._depth == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._depth += 1

    def on_end(self, event: event.Event) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._was_on:
                gc.enable()


# Once in a process, as the collector is: whoever compiles a kernel has imported its options from here.
event.register("numba:compile", _CollectorWaits())
