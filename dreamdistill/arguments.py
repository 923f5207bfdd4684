"""From the arguments of the Python API's functions to the configuration of a stage, and from its result back."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from .objects import Classifier, ShardFolder
from .shared.core.config import StageConfig, from_mapping
from .shared.core.device import pick_device
from .shared.core.errors import ConfigError
from .shared.models.checkpoints import read_model_record
from .shared.models.classifier import load_model

C = TypeVar("C")


def config_of(config_class: type[C], values: Mapping[str, Any], source: str) -> C:
    """A configuration from the arguments of a call; None stands for "not given"."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return from_mapping(config_class, {k: v for k, v in given.items() if v is not None}, source=source)


def in_memory(teacher: Any, **description: Any) -> Classifier | None:
    """The classifier that a call gives in memory; None for a name.

    Args:
        description: mean, std and image_size of a module; each may be None.
    """
    known = {name: value for name, value in description.items() if value is not None}
    if isinstance(teacher, Classifier):
        if known:
            raise ConfigError(f"the classifier has its {min(known)} already: leave it out")
        return teacher
    if isinstance(teacher, nn.Module):
        if missing := [name for name in description if name not in known]:
            raise ConfigError(f"a module in memory needs its {missing[0]} too: mean, std and image_size")
        return Classifier(teacher, **known)
    return None


def shards_and_teacher(shards: Any, teacher: Any) -> tuple[Path, Classifier | None, str | None]:
    """The folder's path, the teacher where it is in memory, and its name where a name was given."""
    folder = shards if isinstance(shards, ShardFolder) else ShardFolder.open(shards)
    if isinstance(teacher, nn.Module):
        record = folder.manifest.teacher
        teacher = Classifier(teacher, mean=record.mean, std=record.std, image_size=record.image_size)
    given = teacher if isinstance(teacher, Classifier) else folder.teacher if teacher is None else None
    return folder.path, given, None if given is not None or teacher is None else str(teacher)


def module_of(teacher: Classifier | None) -> nn.Module | None:
    """A module of the teacher's architecture, where no name builds one."""
    return copy.deepcopy(teacher.network) if teacher is not None and teacher.architecture is None else None


def paths(files: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """One path or several."""
    return tuple(map(Path, [files] if isinstance(files, str | Path) else files))


def saved_model(config: StageConfig, report: Any, *, network: nn.Module | None) -> Classifier:
    """What a stage saved in its output folder, with its report.

    Args:
        network: a module of the architecture; used only where no name builds it.
    """
    needed = network if read_model_record(config.out).architecture is None else None
    loaded = load_model(str(config.out), network=needed, code=config.code, device=pick_device(config.device))
    return Classifier.of(loaded, folder=config.out, report=dataclasses.asdict(report))
