"""How glibc's malloc treats the memory of large tensors on the CPU."""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping

# Environment variables, with their parameters of mallopt(3) and values: the largest that glibc takes.
_SETTINGS = {"MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1), "MALLOC_MMAP_THRESHOLD_": (-3, 2**25)}


def keep_freed_memory(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let malloc keep the memory of freed tensors for new ones, in this process and in those that it starts.

    By default the free end of the heap goes back to the kernel, and large tensors have pages of their own, which go
    back too. The next step waits for the kernel to clear all these pages anew: a tenth to a third of its time
    (docs/performance.md). Tensors over 32 MB have pages of their own still. Nothing is done with another C library than
    glibc, or where the user has set something of malloc.
    """
    if not _is_glibc() or any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environ):
        return
    libc = ctypes.CDLL(None)  # the functions of this process
    for name, (parameter, value) in _SETTINGS.items():
        environ[name] = str(value)  # glibc reads them when a process starts
        libc.mallopt(parameter, value)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # no such function, or no such name: another system or C library
        return False
