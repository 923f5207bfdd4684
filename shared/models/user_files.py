"""Networks of a user's own file: ``path/to/file.py:factory``. Which files are run is decided in :mod:`.named_files`."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from typing import Any

from torch import nn

from ..core.config import fingerprint
from ..core.errors import ConfigError, nearest, one_line
from .architecture import Architecture, timm_input
from .named_files import SourceFile


def user_architecture(source: SourceFile, factory_name: str) -> Architecture:
    """The architecture that a function of a Python file builds. This runs the file.

    Args:
        source: a file that the user has named.

    Raises:
        ConfigError: there is no such function, or the file cannot be imported.
    """
    path = source.path
    # The module gets a name of its own: two files may have the same name, and dataclasses look their module up by it.
    module_name = f"dreamdistill_teacher_{fingerprint(str(path))[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        # What was read is run: neither what stands in the file now, nor a compiled file in __pycache__ beside it.
        exec(compile(source.content, str(path), "exec"), module.__dict__)
    except Exception as error:  # the user's own code
        raise ConfigError(f"{path} cannot be imported ({type(error).__name__}: {one_line(error)})") from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise ConfigError(f"{path} has no function {factory_name!r}{nearest(factory_name, vars(module))}")
    takes_classes = "num_classes" in inspect.signature(factory).parameters

    def build(num_classes: int | None, channels: int) -> nn.Module:
        made = factory(num_classes=num_classes) if takes_classes and num_classes is not None else factory()
        if not isinstance(made, nn.Module):
            raise ConfigError(f"{path}:{factory_name} must return a torch.nn.Module")
        return made

    def pretrained(entry: str | None) -> None:
        if entry is not None:
            raise ConfigError(f"--weights {entry}: there is no such file, and {path.name} names no weights entries")

    # A factory may carry timm's `pretrained_cfg` (mean, std, input_size) as an attribute.
    cfg: dict[str, Any] = getattr(factory, "pretrained_cfg", {})
    name = f"{path}:{factory_name}"
    return Architecture(
        name=name,
        base=name,
        build=build,
        pretrained=pretrained,
        arrives_trained=True,
        **timm_input(cfg),
    )
