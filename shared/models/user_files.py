"""Networks of a user's own file: ``path/to/file.py:factory``."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from torch import nn

from ..core.config import fingerprint
from ..core.errors import ConfigError, nearest, one_line
from .architecture import Architecture, timm_input


def user_architecture(path: Path, factory_name: str) -> Architecture:
    """The architecture that a function of a Python file builds.

    Raises:
        ConfigError: there is no such file or function, or the file cannot be imported.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path} to take {factory_name!r} from")
    # The module gets a name of its own: two files may have the same name, and dataclasses look their module up by it.
    module_name = f"dreamdistill_teacher_{fingerprint(str(path.resolve()))[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
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
    name = f"{path.resolve()}:{factory_name}"
    return Architecture(
        name=name,
        base=name,
        build=build,
        pretrained=pretrained,
        arrives_trained=True,
        **timm_input(cfg),
    )
