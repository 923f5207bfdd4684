"""What a run's report measures of its networks: which there are, and which classes each takes for which."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import nn

from ..shared.cli.effects import warn
from ..shared.core.device import pick_device
from ..shared.core.errors import DreamError
from ..shared.data.evaluation import evaluate
from ..shared.data.labelled import open_labelled
from ..shared.models.classifier import Classifier, load_model, reload_model
from ..shared.report.confusions import Confusion
from ..shared.shards.folder import ShardFolder
from .plan import Pipeline


def networks_of(pipeline: Pipeline) -> tuple[Classifier, dict[str, nn.Module]]:
    """The teacher; and by name its network, then every network that the pipeline made."""
    makers = [stage for stage in pipeline.stages if stage.kind != "invert"]
    first = pipeline.stages[0]
    folder = makers[0].config.shards if makers else first.config.out
    device = pick_device(first.config.device)
    teacher = reload_model(ShardFolder.open(folder).manifest.teacher, code=first.config.code, device=device)
    networks: dict[str, nn.Module] = {"teacher": teacher.network}
    networks |= {
        stage.name: load_model(str(stage.config.out), code=stage.config.code, device=device).network for stage in makers
    }
    return teacher, networks


def confusions_of(
    pipeline: Pipeline, teacher: Classifier, networks: Mapping[str, nn.Module]
) -> tuple[str | None, dict[str, Confusion]]:
    """The real images of the first stage that has some, and the confusions on them of the networks of such stages.

    A finished run does not fail for them: where they cannot be measured, a warning says why.
    """
    # A network with new classes answers in another label space than the teacher: its own report has its confusions.
    evals = {stage.name: stage.config.eval for stage in pipeline.stages if stage.kind != "extend"}
    images = next((name for name in evals.values() if name), None)
    if images is None:
        return None, {}
    chosen = {name: network for name, network in networks.items() if name == "teacher" or evals.get(name) == images}
    try:
        found = open_labelled(images, teacher.num_classes, teacher.class_names)
        return images, {
            name: Confusion.of(
                evaluate(
                    partial(teacher.preprocessing.logits, network),
                    found,
                    teacher.preprocessing,
                    num_classes=teacher.num_classes,
                ).confusion
            )
            for name, network in chosen.items()
        }
    except DreamError as error:
        warn(f"the report has no confusions: {error}")
        return None, {}
