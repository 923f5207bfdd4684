"""What a dry run of a pipeline looks at: the evaluation images of each stage, as the stages' own dry runs do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..invert.inputs import load_inputs
from ..shared.data.accuracy import check_first
from ..shared.data.labelled import open_labelled
from ..shared.models.classifier import Classifier, load_model
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
        return tasks[made_before] if made_before in tasks else _task_of(load_model(config.model, code=config.code))
    if stage.kind != "invert":
        if config.shards in tasks:
            return tasks[config.shards]
        teacher = load_manifest(config.shards).teacher
        return _Task(
            num_classes=teacher.num_classes,
            class_names=teacher.class_names,
            preprocessing=Preprocessing.of(teacher),
        )
    made_before = config.out if config.out in tasks else Path(config.teacher)  # a later round, or a student
    if made_before in tasks:
        return tasks[made_before]
    return _task_of(load_inputs(config).teacher)


def _task_of(model: Classifier) -> _Task:
    return _Task(num_classes=model.num_classes, class_names=model.class_names, preprocessing=model.preprocessing)
