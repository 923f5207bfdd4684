"""What a configuration names, loaded: the teacher, the recipe, the classes. Nothing is written or connected to."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..shared.core.device import pick_device
from ..shared.core.errors import ConfigError, one_line
from ..shared.core.files import read_limited
from ..shared.core.launch import Place, find_place
from ..shared.data.labelled import LabelledSet, open_labelled
from ..shared.models.classifier import Classifier, load_model
from ..shared.models.health import examine
from ..shared.models.named_files import name_files
from .config import InvertConfig
from .engine import check_recipe
from .executors.ray import require_ray
from .fallback import fitted
from .recipe import RECIPES, Recipe, find_recipe

_CLASS_NAMES = 2**24  # bytes of a file of class names, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A configuration and what it names.

    Attributes:
        device: the kind of device that the workers use; None if only the Ray cluster knows, once it is joined.
        images: to measure the teacher on, if there are any.
        warnings: what seems wrong with the teacher, see :func:`~..shared.models.health.examine`.
    """

    config: InvertConfig
    place: Place
    device: torch.device | None
    teacher: Classifier
    student: Classifier | None
    recipe_name: str
    recipe: Recipe
    classes: tuple[int, ...]
    images: LabelledSet | None
    warnings: tuple[str, ...]


def load_inputs(config: InvertConfig, teacher: Classifier | None = None) -> Inputs:
    """Check a configuration and load what it names.

    Args:
        teacher: a loaded network in place of the one that the configuration names. If it has no name to load it by, it
            works with one worker of this process.

    Raises:
        ConfigError: something cannot be loaded, the teacher cannot be inverted, or the options do not fit together.
    """
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"cannot make the folder {config.out}: there is a file of that name")
    place = find_place(config.rank, config.world)
    if config.overwrites and place.world > 1:
        raise ConfigError(
            f"--overwrite with {place.world} shares would delete what the others write: delete {config.out} first"
        )
    if teacher is not None and teacher.name is None and (config.engine == "ray" or (config.workers or 1) > 1):
        raise ConfigError(
            "a network in memory works with one worker: pass workers=1, or give it as FILE.py:factory with its weights"
        )
    if config.engine == "ray":
        require_ray()
    name_files(config.code)
    here = torch.device("cpu") if config.engine == "ray" else pick_device(config.device, place.local_rank)
    teacher = _load_teacher(config, here) if teacher is None else _take_teacher(config, teacher, here)
    health = examine(teacher)
    if health.errors:
        raise ConfigError(f"{teacher.title} cannot be inverted: {'; '.join(health.errors)}")
    images = open_labelled(config.eval, teacher.num_classes, teacher.class_names) if config.eval else None
    name, recipe = find_recipe(config.recipe, teacher.preprocessing.image_size)
    recipe = recipe.changed(config.changes)
    student = _load_student(config, teacher)
    if student is None:
        if config.changes.get("alpha_compete"):
            raise ConfigError("--alpha-compete needs a student: give --compete-with FOLDER")
        recipe = recipe.changed({"alpha_compete": 0.0})
    if config.recipe == "auto":
        recipe = fitted(recipe, teacher, asked=config.changes, log=lambda line: print(line, file=sys.stderr))
    check_recipe(teacher, recipe)
    classes = config.classes or tuple(range(teacher.num_classes))
    if min(classes) < 0 or max(classes) >= teacher.num_classes:
        raise ConfigError(f"--classes must lie in 0..{teacher.num_classes - 1}, the teacher's classes")
    return Inputs(
        config=config,
        place=place,
        device=None if config.engine == "ray" and config.device != "cpu" else _device(teacher),
        teacher=teacher,
        student=student,
        recipe_name=name,
        recipe=recipe,
        classes=classes,
        images=images,
        warnings=health.warnings,
    )


def with_recipe(inputs: Inputs, name: str) -> Inputs:
    """The same inputs with another preset as the default recipe, fitted to the teacher."""
    recipe = RECIPES[name].changed({"alpha_compete": 0.0})
    fits = fitted(recipe, inputs.teacher, asked=(), log=lambda _: None)  # what is left out was said of the default
    return replace(inputs, recipe_name=name, recipe=fits)


def _load_teacher(config: InvertConfig, device: torch.device) -> Classifier:
    return load_model(
        config.teacher,
        weights=config.weights,
        num_classes=config.num_classes,
        mean=config.mean,
        std=config.std,
        image_size=config.image_size,
        class_names=None if config.class_names is None else _class_names(config.class_names),
        code=config.code,
        device=device,
    )


def _class_names(path: Path) -> list[str]:
    """The lines of a text file; empty ones at its end do not count."""
    try:
        return read_limited(path, _CLASS_NAMES).decode("utf-8").rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--class-names {path} cannot be read: {one_line(error)}; give a text file") from error


def _take_teacher(config: InvertConfig, teacher: Classifier, device: torch.device) -> Classifier:
    """The caller's network on the device: a copy, if it is on another device."""
    own = _device(teacher)
    if own == device or (config.device == "auto" and own.type == device.type):
        return teacher
    moved = copy.copy(teacher)
    moved.network = copy.deepcopy(teacher.network).to(device)
    return moved


def _device(teacher: Classifier) -> torch.device:
    return next(teacher.network.parameters()).device


def _load_student(config: InvertConfig, teacher: Classifier) -> Classifier | None:
    if config.compete_with is None:
        return None
    mean, std = teacher.preprocessing.mean, teacher.preprocessing.std
    student = load_model(config.compete_with, mean=mean, std=std, code=config.code)
    if student.num_classes != teacher.num_classes:
        raise ConfigError(
            f"the student of --compete-with has {student.num_classes} classes and the teacher {teacher.num_classes}"
        )
    return student
