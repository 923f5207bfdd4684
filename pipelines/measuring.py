"""What a run's report measures of its networks and files: what each costs, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..shared.cli.effects import warn
from ..shared.core.device import pick_device
from ..shared.core.errors import DreamError
from ..shared.data.evaluation import evaluate
from ..shared.data.labelled import open_labelled
from ..shared.export.onnx_file import OnnxSession
from ..shared.models.classifier import Classifier, load_model, reload_model
from ..shared.models.cost import count_macs, num_parameters, paired_latency_ms
from ..shared.report.confusions import Confusion
from ..shared.shards.folder import ShardFolder
from .plan import Pipeline
from .report import NetworkRow, StageResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """An ONNX file.

    Attributes:
        network: that it was made from.
        top1: on the images of ``eval``, 0 to 1; None without any.
        seconds: wall time of the stage that wrote it.
    """

    name: str
    network: nn.Module
    session: OnnxSession
    bytes: int
    top1: float | None
    seconds: float


def networks_of(pipeline: Pipeline) -> tuple[Classifier, dict[str, nn.Module]]:
    """The teacher; and by name its network, then every network that the pipeline made."""
    makers = [stage for stage in pipeline.stages if stage.makes_network]
    first = pipeline.stages[0]
    folder = makers[0].config.shards if makers else first.config.out
    device = pick_device(first.config.device)
    teacher = reload_model(ShardFolder.open(folder).manifest.teacher, code=first.config.code, device=device)
    networks: dict[str, nn.Module] = {"teacher": teacher.network}
    networks |= {
        stage.name: load_model(str(stage.config.out), code=stage.config.code, device=device).network for stage in makers
    }
    return teacher, networks


def files_of(
    pipeline: Pipeline, stages: Mapping[str, StageResult], networks: Mapping[str, nn.Module]
) -> list[ExportedFile]:
    """The ONNX files that the pipeline's export stages wrote, each float one ahead of its int8 one.

    Args:
        networks: that the pipeline made, by name: they are not loaded again.
    """
    made = {str(stage.config.out): networks[stage.name] for stage in pipeline.stages if stage.makes_network}
    files: list[ExportedFile] = []
    for stage in pipeline.stages:
        if stage.kind != "export" or stage.config.export.format != "onnx":
            continue
        config, done = stage.config, stages[stage.name]
        network = made.get(config.model)
        if network is None:
            network = load_model(config.model, code=config.code, device=pick_device(config.device)).network
        for suffix in ("", "_int8"):
            file = done.result[f"file{suffix}"]
            if file is None:
                continue
            files.append(
                ExportedFile(
                    name=f"{stage.name}{suffix}",
                    network=network,
                    session=OnnxSession(file, batch=config.export.fixed_batch, threads=torch.get_num_threads()),
                    bytes=done.result[f"bytes{suffix}"],
                    top1=done.result[f"top1{suffix}"],
                    seconds=done.wall_seconds,
                )
            )
    return files


def rows_of(
    pipeline: Pipeline, stages: Mapping[str, StageResult], teacher: Classifier, networks: Mapping[str, nn.Module]
) -> tuple[NetworkRow, ...]:
    """What is known of the networks, and of the files that were made from them. All are timed in turn."""
    top1 = {"teacher": next((s.teacher_top1 for s in stages.values() if s.teacher_top1 is not None), None)}
    top1 |= {name: result.own_top1 for name, result in stages.items()}
    device = next(teacher.network.parameters()).device
    example_NCHW = teacher.preprocessing.blank(1, device)
    batch_NCHW = example_NCHW.expand(pipeline.latency_batch, -1, -1, -1).contiguous()
    files = files_of(pipeline, stages, networks)
    timed: dict[str, Callable[[Tensor], object]] = dict(networks)
    if device.type == "cpu":  # where ONNX Runtime is
        timed |= {file.name: file.session for file in files}
    latencies = dict(zip(timed, paired_latency_ms(list(timed.values()), batch_NCHW), strict=True))

    def row(name: str, network: nn.Module, top1: float | None, size: int, took: float | None) -> NetworkRow:
        return NetworkRow(
            name=name,
            top1=top1,
            parameters=num_parameters(network),
            macs=count_macs(network, example_NCHW),
            bytes=size,
            latency_ms=round(latencies[name], 4) if name in latencies else None,
            seconds=took,
        )

    return (
        *(
            row(name, network, top1.get(name), _bytes(network), stages[name].wall_seconds if name in stages else None)
            for name, network in networks.items()
        ),
        *(row(file.name, file.network, file.top1, file.bytes, file.seconds) for file in files),
    )


def _bytes(network: nn.Module) -> int:
    return sum(each.numel() * each.element_size() for each in network.state_dict().values())


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
