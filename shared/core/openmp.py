"""How the threads that torch starts on the CPU wait for one another."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_POLICIES = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"


def wait_without_spinning(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep while they wait, in this process and in those that it starts.

    By default they spin for some milliseconds at the end of each operation. On a machine with other work, a spinning
    thread takes the processor of the one that it waits for. OpenMP reads this when torch is imported, so it must be
    called before; later it has an effect on new processes only. What the user has set is left alone.
    """
    if not any(name in environ for name in _POLICIES):
        environ["OMP_WAIT_POLICY"] = "PASSIVE"
