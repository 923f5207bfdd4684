"""Stdout is for results: what libraries, and networks of users, print meanwhile goes to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """A context in which all that this process prints on stdout, and the processes that it starts, goes to stderr.

    File descriptors are changed, not ``sys.stdout`` alone: C code and worker processes print too.
    """
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # it is closed, so there is nothing to keep clean
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
