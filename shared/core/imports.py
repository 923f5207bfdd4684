"""What may be imported: nothing from the working folder by accident, and what stands beside a file that was named."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_VARIABLE = "PYTHONSAFEPATH"  # Python 3.10 does not know it
_INSTALLED = {"site-packages", "dist-packages"}  # names of folders
_aside: dict[str, dict[str, ModuleType]] = {}  # by user's folder, its modules while others bear their names


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


@contextlib.contextmanager
def importing_beside(folder: Path) -> Iterator[None]:
    """A context in which a file that the user named may import the modules that stand in its folder, as a script may.

    They come before all other modules. Two such folders may have modules of one name, ``utils`` say: each file gets its
    own. Python finds what is installed by itself, so folders of installed packages change nothing.
    """
    if not _INSTALLED.isdisjoint(folder.parts):
        yield
        return
    own = str(folder)
    _put_aside(lambda name: (folder / f"{name}.py").is_file() or (folder / name).is_dir(), but=own)
    sys.modules.update(_aside.get(own, {}))
    _aside[own] = {}
    importlib.invalidate_caches()  # the file may have been written just now
    sys.path.insert(0, own)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(own)


def find_installed(name: str) -> ModuleSpec | None:
    """Where Python finds a module by itself, not beside a user's file; None for nowhere.

    This imports the packages that the module is in.

    Raises:
        ImportError: a package cannot be imported.
    """
    _put_aside(lambda top: top == name.partition(".")[0])
    try:
        return importlib.util.find_spec(name)
    except ValueError:  # a module without a place, such as __main__
        return None


def _put_aside(clashes: Callable[[str], bool], *, but: str | None = None) -> None:
    """Take the modules of users' folders, but for one, out of the way, where a top-level name clashes."""
    for name, module in list(sys.modules.items()):
        folder, top = _folder_of(name), name.partition(".")[0]
        if folder in _aside and folder != but and clashes(top):
            _aside[folder][name] = module
            del sys.modules[name]


def _folder_of(name: str) -> str | None:
    """The folder of sys.path from which a module, or the package that it is in, was imported."""
    top = sys.modules.get(name.partition(".")[0])
    paths = list(getattr(top, "__path__", ())) or [getattr(top, "__file__", None)]
    return os.path.dirname(paths[0]) if isinstance(paths[0], str) else None
