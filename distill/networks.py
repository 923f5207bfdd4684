"""The two networks of a training, by name or in memory: the teacher of the shards, and the student at its start."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from ..shared.cli.effects import warn as print_warning
from ..shared.core.errors import ConfigError
from ..shared.models.classifier import Classifier, load_model, reload_model
from ..shared.models.comparison import check_same
from ..shared.models.identity import MANIFEST_OF_SHARDS, ClassifierRecord
from ..shared.models.loading import batchnorm_layers
from ..shared.models.named_files import name_files
from ..shared.models.preprocessing import Preprocessing
from ..shared.models.state_dicts import weights_sha256
from ..shared.models.students import check_student, draw_new_weights, new_network
from .config import DistillConfig


def find_teacher(
    config: DistillConfig, record: ClassifierRecord, given: Classifier | None, device: torch.device, *, warn: bool
) -> Classifier | None:
    """The teacher of the shards. None if it does not load and the settings do not require it: logits are stored.

    Args:
        given: the teacher in memory, in place of the one that the record names.
        warn: if there is no teacher, print the reason on stderr.

    Raises:
        ConfigError: the given teacher did not make the shards, or the named one is required and does not load.
    """
    if given is None:
        name_files((), config.student)  # first: the teacher may be of the same file
    try:
        return load_teacher(config, record, given, device)
    except ConfigError as error:
        if given is not None or config.teacher or config.weights or config.training.labels == "teacher":
            raise
        if warn:
            print_warning(f"the teacher does not load, so its stored logits are the labels: {error}")
        return None


class TeacherConfig(Protocol):
    """The settings of a stage that say where the teacher of its shards is now, if it has moved."""

    @property
    def teacher(self) -> str | None: ...

    @property
    def weights(self) -> str | None: ...

    @property
    def code(self) -> tuple[Path, ...]: ...


def load_teacher(
    config: TeacherConfig, record: ClassifierRecord, given: Classifier | None, device: torch.device
) -> Classifier:
    """The teacher of the shards, by its name or in memory, on the device.

    Args:
        given: the teacher in memory, in place of the one that the record names.

    Raises:
        ConfigError: it does not load, it did not make the shards, or there would be two teachers.
    """
    if given is None:
        name_files(config.code)
        return reload_model(record, name=config.teacher, weights=config.weights, code=config.code, device=device)
    if config.teacher or config.weights:
        raise ConfigError("a teacher in memory comes with its weights: leave --teacher and --weights out")
    check_same(given, record)
    # Laid out as a loaded one is: inversion leaves it channels last, which changes the order of sums and so their bits.
    given.network.to(device).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return given


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A student before its first step.

    Attributes:
        network: on the CPU, or where it was given.
        architecture: the name that builds it; None for a module in memory.
        start: sha256 of the weights that it starts from; None for the new weights of an architecture, which follow
            from the seed.
        is_trained: whether these weights were trained. A module in memory shows it by a BatchNorm that has seen images.
    """

    network: nn.Module
    architecture: str | None
    start: str | None = None
    is_trained: bool = False

    def load_saved(self, config: DistillConfig, device: torch.device) -> nn.Module:
        """The student as it was saved, in eval mode. A module in memory gets the saved weights, in place."""
        network = self.network if self.architecture is None else None
        return load_model(str(config.out), network=network, code=config.code, device=device).network


def start_student(
    config: DistillConfig, record: ClassifierRecord, given: nn.Module | None, teacher: Classifier | None
) -> Student:
    """The student that the settings ask for: the given module, a saved model, or an architecture with new weights.

    Without any of them it is the teacher's architecture; if no name builds that, a copy of the teacher with new
    weights.

    Args:
        given: a module in memory, which starts with the weights that it has. If all its parameters are frozen, they
            are made trainable.

    Raises:
        ConfigError: there is no such student, or it cannot take the teacher's images and classes.
    """
    preprocessing, num_classes = Preprocessing.of(record), record.num_classes
    if given is not None:
        if config.student or config.init:
            raise ConfigError("a student in memory is its own start: leave --student and --init out")
        title = f"in memory ({type(given).__name__})"
        check_student(given, num_classes=num_classes, preprocessing=preprocessing, name=title)
        if not any(parameter.requires_grad for parameter in given.parameters()):
            given.requires_grad_(True)
        is_trained = not all(batchnorm_layers(given).values())
        return Student(network=given, architecture=None, start=weights_sha256(given), is_trained=is_trained)
    if config.init is not None:
        saved = load_model(str(config.init), code=config.code)
        if (saved.num_classes, saved.preprocessing) != (num_classes, preprocessing):
            raise ConfigError(
                f"--init {config.init} is a model for other classes, image size, mean or std than the teacher's: name"
                " one that was distilled from the same teacher"
            )
        return Student(
            network=saved.network.requires_grad_(True),
            architecture=saved.architecture,
            start=weights_sha256(saved.network),
            is_trained=True,
        )
    if (name := config.student or record.name) is not None:
        architecture, network = new_network(
            name,
            num_classes=num_classes,
            preprocessing=preprocessing,
            seed=config.seed,
            named_by=None if config.student else MANIFEST_OF_SHARDS,
            code=config.code,
        )
        return Student(network=network, architecture=architecture)
    if teacher is None:
        raise ConfigError("no name builds the teacher of these shards: name a --student, or pass the teacher again")
    network = copy.deepcopy(teacher.network).cpu().requires_grad_(True)
    draw_new_weights(network, config.seed)
    return Student(network=network, architecture=None)
