"""What a dry run of a pipeline looks at: the evaluation images of each stage, as the stages' own dry runs do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..distill.extend.new_images import NewImages
from ..invert.inputs import load_inputs
from ..shared.data.accuracy import check_first
from ..shared.data.labelled import open_labelled
from ..shared.models.classifier import load_model
from ..shared.models.identity import ClassifierRecord
from ..shared.models.named_files import name_files
from ..shared.models.preprocessing import Preprocessing
from ..shared.shards.manifest import load_manifest
from .plan import Pipeline, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What the networks of a stage tell apart, and the images that they take."""

    num_classes: int
    class_names: Sequence[str]
    preprocessing: Preprocessing


def check_evaluations(pipeline: Pipeline) -> None:
    """Look at the first images of every ``eval``. Loads teachers, and writes nothing.

    Raises:
        ConfigError: a set cannot be read or does not fit the stage's networks, or these cannot be loaded.
    """
    if not any(stage.config.eval for stage in pipeline.stages):
        return
    tasks: dict[Path, _Task] = {}  # by the folder of a stage's result, which need not be there yet
    checked: set[tuple[str, int, Preprocessing]] = set()
    for stage in pipeline.stages:
        task = tasks[stage.config.out] = _task(stage, tasks)
        key = stage.config.eval, task.num_classes, task.preprocessing
        if stage.config.eval and key not in checked:
            check_first(open_labelled(stage.config.eval, task.num_classes, task.class_names), task.preprocessing)
            checked.add(key)


def _task(stage: Stage, tasks: dict[Path, _Task]) -> _Task:
    config = stage.config
    if stage.kind == "export":
        name_files(config.code)
        made_before = Path(config.model)
        if made_before in tasks:
            return tasks[made_before]
        return _task_of(load_model(config.model, code=config.code).record())
    if stage.kind != "invert":
        task = tasks[config.shards] if config.shards in tasks else _task_of(load_manifest(config.shards).teacher)
        return _extended(task, config.new) if stage.kind == "extend" else task
    made_before = config.out if config.out in tasks else Path(config.teacher)  # a later round, or a student
    if made_before in tasks:
        return tasks[made_before]
    return _task_of(load_inputs(config).teacher.record())


def _task_of(teacher: ClassifierRecord) -> _Task:
    """That of a teacher on record."""
    return _Task(
        num_classes=teacher.num_classes, class_names=teacher.class_names, preprocessing=Preprocessing.of(teacher)
    )


def _extended(task: _Task, spec: str) -> _Task:
    """A task with the classes of a set in addition."""
    new = NewImages.read(spec, task.preprocessing, task.class_names)
    return replace(task, num_classes=task.num_classes + new.num_classes, class_names=new.joint_names(task.class_names))
