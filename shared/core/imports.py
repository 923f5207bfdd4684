"""What the Python processes that we start may import."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_VARIABLE = "PYTHONSAFEPATH"  # Python 3.10 does not know it


@contextlib.contextmanager
def safe_imports() -> Iterator[None]:
    """A context in which the processes that we start import nothing from the working folder: it may be anybody's."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "1"
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
        if before is not None:
            os.environ[_VARIABLE] = before
