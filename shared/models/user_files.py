"""Networks of a user's own file: ``path/to/file.py:factory``."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..core.errors import ConfigError, nearest
from .architecture import Architecture, timm_input
from .named_files import SourceFile
from .user_code import arguments_for, run_file, running


def user_architecture(source: SourceFile, factory_name: str) -> Architecture:
    """The architecture that a function, or a class, of a Python file builds. This runs the file.

    Args:
        source: a file that the user has named.

    Raises:
        ConfigError: there is no such function, or the file cannot be imported.
    """
    path = source.path
    name = f"{path}:{factory_name}"
    module = run_file(source)
    factory = getattr(module, factory_name, None)
    if isinstance(factory, nn.Module):
        raise ConfigError(f"{name} is a network already: name the function or the class that makes it")
    if not callable(factory):
        raise ConfigError(f"{path} has no function {factory_name!r}{nearest(factory_name, vars(module))}")

    def build(num_classes: int | None, channels: int) -> nn.Module:
        arguments = arguments_for(factory, name, num_classes)
        with running(path, f"{name} failed"):
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
