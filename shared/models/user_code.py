"""Runs a user's own Python file. Which files are run is decided in :mod:`.named_files`."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..core.config import fingerprint
from ..core.errors import ConfigError, DreamError, named
from ..core.imports import find_installed, importing_beside
from .named_files import SourceFile


def run_file(source: SourceFile) -> ModuleType:
    """Run a file as a module.

    Raises:
        ConfigError: it raised an exception, or ended the program.
    """
    path = source.path
    package, root = _package_of(path)
    installed = package and _is_installed(package, root)
    with running(path, f"{path} cannot be imported"):
        if installed:  # run twice, it might register its networks twice
            return importlib.import_module(package if path.name == "__init__.py" else f"{package}.{path.stem}")
        # A name of its own: two files may have the same name, and dataclasses look their module up by it. Within its
        # package, so that relative imports work.
        unique = f"dreamdistill_teacher_{fingerprint(str(path))[:12]}"
        name = f"{package}.{unique}" if package else unique
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        # What was read is run: neither what stands in the file now, nor a compiled file in __pycache__ beside it.
        exec(compile(source.content, str(path), "exec"), module.__dict__)
        return module


def _package_of(path: Path) -> tuple[str, Path]:
    """The package that a file stands in, by its dotted name, and the folder that holds the package.

    The name is empty, and the folder the file's, where the file is in none.
    """
    names: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names), folder


def _is_installed(package: str, root: Path) -> bool:
    """Whether Python finds this very package by itself."""
    top = package.partition(".")[0]
    spec = find_installed(top)
    found = list(spec.submodule_search_locations or ()) if spec is not None else []
    return os.path.realpath(root / top) in map(os.path.realpath, found)


@contextlib.contextmanager
def running(path: Path, failed: str) -> Iterator[None]:
    """A context to run a user's own code in: it may import what stands beside it, and changes nothing for us.

    It sees a command line without options, since ours are not meant for it.

    Args:
        failed: what has failed if it raises, for the message.

    Raises:
        ConfigError: it raised an exception, or ended the program.
    """
    package, root = _package_of(path)
    arguments, folder = sys.argv, None
    with contextlib.suppress(FileNotFoundError):  # it may have been deleted
        folder = os.getcwd()
    sys.argv = [str(path)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.enable_grad())  # puts the mode back
        stack.enter_context(importing_beside(root))
        if package:  # files of a package may import their neighbours like a script, too
            stack.enter_context(importing_beside(path.parent))
        try:
            yield
        except DreamError:
            raise
        except SystemExit as error:
            raise ConfigError(
                f"{failed}: it ends the program{_line(error, path)}; put what is to run as a script under"
                ' if __name__ == "__main__":'
            ) from error
        except Exception as error:
            raise ConfigError(f"{failed}: {named(error)}{_line(error, path)}{_hint(error)}") from error
        finally:
            sys.argv = arguments
            if folder is not None:
                os.chdir(folder)


def _line(error: BaseException, path: Path) -> str:
    """The last line of the file that an exception came through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {lines[-1]} of {path.name})" if lines else ""


def _hint(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "; modules are looked for beside the file, and where Python has installed them"
    if isinstance(error, FileNotFoundError):
        return "; a relative path starts where the command is started: go there, or write the path from __file__"
    return ""


def arguments_for(factory: Callable[..., Any], name: str, num_classes: int | None) -> dict[str, Any]:
    """What a factory is called with: ``num_classes``, if it takes that.

    Raises:
        ConfigError: it needs more.
    """
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # written in C
        return {}
    given = {"num_classes": num_classes} if "num_classes" in parameters and num_classes is not None else {}
    for parameter in parameters.values():
        optional = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if optional or parameter.name in given:
            continue
        if parameter.name == "num_classes":
            raise ConfigError(f"{name} needs num_classes: give --num-classes")
        raise ConfigError(
            f"{name} needs the argument {parameter.name!r}: give it a default, or name a function that needs none and"
            " calls it"
        )
    return given
