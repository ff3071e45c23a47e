"""Keeps compiled programs, so that a program that two tests build alike is compiled once."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from jax._src import compiler

PARAMETERS = ["backend", "module", "executable_devices", "options", "host_callbacks"]


def share(most: int = 1000) -> None:
    """Makes JAX compile equal programs once in this process, of which it keeps the `most` that were used last.

    JAX finds a compiled program by the function that it came from, so that a model which is built again is compiled
    again, and so is everything after `jax.clear_caches`. Here it is found by its text and how it is compiled. This
    leaves JAX as it is where the private function it replaces has other parameters.
    """
    compile_anew = getattr(compiler, "backend_compile_and_load", None)
    if compile_anew is not None and list(inspect.signature(compile_anew).parameters) == PARAMETERS:
        compiler.backend_compile_and_load = shared(compile_anew, most)


def shared(compile_anew: Callable[..., Any], most: int) -> Callable[..., Any]:
    """`compile_anew` with a memory of the `most` programs used last. Those that call Python are compiled each time."""
    programs: OrderedDict[Any, Any] = OrderedDict()

    @functools.wraps(compile_anew)
    def compiled(backend, module, executable_devices, options, host_callbacks):
        arguments = backend, module, executable_devices, options, host_callbacks
        if host_callbacks:
            return compile_anew(*arguments)
        text = module.operation.get_asm(enable_debug_info=False)  # debug info has the lines that called
        digest = hashlib.sha256(text.encode()).digest()
        key = backend, str(executable_devices), options.SerializeAsString(), digest
        if key not in programs:
            programs[key] = compile_anew(*arguments)
        programs.move_to_end(key)
        if len(programs) > most:
            programs.popitem(last=False)
        return programs[key]

    return compiled
