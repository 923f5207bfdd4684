"""Which Python files may be run: those that this user has named.

A manifest and a saved model are data, and may come from a stranger. They name networks, and a network may be a function
of a Python file. Such a file is run only if the user has named that very file before, in a command, in Python or in a
YAML file of their own. "That very file" means both its path and its content: a stranger may put a copy of a file of
mine beside a module of theirs that it imports, and a file at a path that I have named may have been replaced.

What was named is kept for the process, and for later commands in the user's own state folder, as the empty file
``named/<sha256 of the path>/<sha256 of the content>``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ConfigError, named
from ..core.files import read_limited
from ..core.imports import find_installed
from ..core.user_state import state_folder

LARGEST = 16 * 2**20  # bytes of a Python file

Key = tuple[str, str]
"""A file that was named: sha256 of its path, and of its content."""

_named: set[Key] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A Python file as it was read. What is run is this content, whatever becomes of the file.

    Attributes:
        path: resolved.
    """

    path: Path
    content: bytes

    @property
    def key(self) -> Key:
        return hashlib.sha256(os.fsencode(self.path)).hexdigest(), hashlib.sha256(self.content).hexdigest()

    def remember(self) -> None:
        """Keep that the user has named it."""
        _named.add(self.key)
        folder = state_folder("named")
        with contextlib.suppress(OSError):  # then the user is asked again another time
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / self.key[0]).mkdir(mode=0o700, exist_ok=True)
            (folder / self.key[0] / self.key[1]).touch()

    def is_named(self) -> bool:
        """Whether the user has named it."""
        if self.key not in _named and _is_file(state_folder("named").joinpath(*self.key)):
            _named.add(self.key)
        return self.key in _named


def split_name(name: str) -> tuple[Path, str] | None:
    """``path/to/file.py:factory`` as the file and the function; None for another name."""
    path, colon, factory = name.rpartition(":")
    return (Path(path), factory) if colon and path.endswith(".py") else None


def split_users_name(name: str) -> tuple[Path, str] | None:
    """The same for a name that the user gives, who may also write ``package.module:factory``.

    That is the file from which Python would import the module, or else ``package/module.py`` in the working folder. It
    imports the packages that the module is in. Data may not name modules: they would be imported before they are known.

    Raises:
        ConfigError: there is no such module.
    """
    module, colon, factory = name.rpartition(":")
    if (found := split_name(name)) or not colon or not all(part.isidentifier() for part in module.split(".")):
        return found
    try:
        spec = find_installed(module)
    except ModuleNotFoundError:
        spec = None
    except Exception as error:  # the user's own code
        raise ConfigError(f"{module} cannot be imported: {named(error)}") from error
    here = Path(*module.split("."))
    files = [Path(spec.origin)] if spec is not None and spec.has_location and spec.origin else []
    files += [here.with_suffix(".py"), here / "__init__.py"]
    if (file := next((file for file in files if file.suffix == ".py" and _is_file(file)), None)) is None:
        raise ConfigError(f"Python finds no module {module}, and there is no file {here}.py: name FILE.py:factory")
    return file, factory


def name_files(code: Iterable[Path], *names: str | None) -> None:
    """Take note that the user has named these files, and those of the names that are functions of files.

    Raises:
        ConfigError: there is no such file.
    """
    for path in [*code, *(found[0] for name in names if name and (found := split_users_name(name)))]:
        read_source(path).remember()


def read_source(path: Path) -> SourceFile:
    """Read a Python file that the user names.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    try:
        return SourceFile(path=_resolved(path), content=read_limited(path, LARGEST))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a Python file: {error}") from error


def source_from_data(path: Path, *, named_by: str, code: Sequence[Path]) -> SourceFile:
    """The file that data names, if the user has named it; else the one of ``code`` that takes its place.

    Args:
        named_by: the data, for the message.
        code: files that the user gives for this. One of the same file name takes the place, or the only one there is.

    Raises:
        ConfigError: the user has named no such file.
    """
    given = [read_source(file) for file in code]
    for source in given:
        source.remember()
    with contextlib.suppress(ConfigError):
        if (source := read_source(path)).is_named():
            return source
    fitting = [source for source in given if source.path.name == path.name] or given
    if len(fitting) == 1:
        return fitting[0]
    names = f"{named_by} names the Python file {str(path)!r}"
    if given:
        raise ConfigError(f"{names}, and --code has no one file of that name: give the file that is meant")
    if not _is_file(path):
        raise ConfigError(f"{names}, and there is no such file: if you have it elsewhere, pass --code FILE.py")
    earlier = hashlib.sha256(os.fsencode(_resolved(path))).hexdigest()
    why = "has changed since you named it" if _was_named(earlier) else "this tool has not run for you before"
    raise ConfigError(f"{names}, which {why}: if you trust it, pass --code {path}")


def named_keys() -> tuple[Key, ...]:
    """What was named in this process, or found to be: for the processes that work for it."""
    return tuple(sorted(_named))


def take_keys(keys: Iterable[Key]) -> None:
    """In a process that works for another: what was named there."""
    _named.update(keys)


def _was_named(path_digest: str) -> bool:
    return any(path == path_digest for path, _ in _named) or os.path.isdir(state_folder("named") / path_digest)


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path's own raises for a circle of links


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # False for a name that no file can have, where Path's raises
