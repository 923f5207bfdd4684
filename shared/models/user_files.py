"""Networks of a user's own file: ``path/to/file.py:factory``. Which files are run is decided in :mod:`.named_files`."""

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
from torch import nn

from ..core.config import fingerprint
from ..core.errors import ConfigError, DreamError, named, nearest
from ..core.imports import find_installed, importing_beside
from .architecture import Architecture, timm_input
from .named_files import SourceFile


def user_architecture(source: SourceFile, factory_name: str) -> Architecture:
    """The architecture that a function, or a class, of a Python file builds. This runs the file.

    Args:
        source: a file that the user has named.

    Raises:
        ConfigError: there is no such function, or the file cannot be imported.
    """
    path = source.path
    name = f"{path}:{factory_name}"
    module = _import(source)
    factory = getattr(module, factory_name, None)
    if isinstance(factory, nn.Module):
        raise ConfigError(f"{name} is a network already: name the function or the class that makes it")
    if not callable(factory):
        raise ConfigError(f"{path} has no function {factory_name!r}{nearest(factory_name, vars(module))}")

    def build(num_classes: int | None, channels: int) -> nn.Module:
        arguments = _arguments(factory, name, num_classes)
        with _running(path, f"{name} failed"):
            made = factory(**arguments)
        if not isinstance(made, nn.Module):
            raise ConfigError(f"{name} must return a torch.nn.Module, not {type(made).__name__}")
        return made

    def pretrained(entry: str | None) -> None:
        if entry is not None:
            raise ConfigError(f"--weights {entry}: there is no such file, and {path.name} names no weights entries")

    # A factory may carry timm's `pretrained_cfg` (mean, std, input_size) as an attribute.
    cfg: dict[str, Any] = getattr(factory, "pretrained_cfg", {})
    return Architecture(
        name=name,
        base=name,
        build=build,
        pretrained=pretrained,
        arrives_trained=True,
        **timm_input(cfg),
    )


def _import(source: SourceFile) -> ModuleType:
    """Run a file as a module."""
    path = source.path
    package, root = _package_of(path)
    installed = package and _is_installed(package, root)
    with _running(path, f"{path} cannot be imported"):
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
def _running(path: Path, failed: str) -> Iterator[None]:
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


def _arguments(factory: Callable[..., Any], name: str, num_classes: int | None) -> dict[str, Any]:
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
