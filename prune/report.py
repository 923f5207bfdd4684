"""What a run of ``di-prune`` measured: accuracy, sizes and latency, before and after; its last table and its card."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..shared.cli.outcome import Outcome, share_of, steps_with_model
from ..shared.core.files import cut_path
from ..shared.data.accuracy import top1
from ..shared.data.labelled import LabelledSet
from ..shared.models.classifier import Classifier
from ..shared.models.cost import count_macs, num_filters, num_parameters
from ..shared.models.dropped import dropped_blocks
from ..shared.report.card import ModelCard
from ..shared.report.commands import command_line
from ..shared.report.parts import percent
from .config import PruneConfig
from .layer_table import LAYERS
from .units import Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A network that was pruned and not trained yet.

    Attributes:
        top1_raw: as it was cut, before the last repair by least squares; None without images to measure on.
        top1_ls: after it.
        seconds: of both, without the measurement.
    """

    top1_raw: float | None = None
    top1_ls: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """The network before and after.

    Attributes:
        top1_before, top1_after: on the images of ``eval``, 0 to 1; None without any.
        top1_raw, top1_ls: before and after the last repair by least squares; None where an earlier call made it.
        blocks_removed: names of the residual blocks that are gone.
        filters_before, filters_after: see :func:`~dreamdistill.shared.models.cost.num_filters`.
        macs_before, macs_after: multiply-adds of one image.
        latency_before_ms, latency_after_ms: of one forward of ``latency_batch`` images, medians, measured in turn;
            compiled with ``latency_compile``.
        latency_one_before_ms, latency_one_after_ms: the same of one image.
        seconds: of scoring, surgery and training.
    """

    top1_before: float | None
    top1_raw: float | None
    top1_ls: float | None
    top1_after: float | None
    blocks_removed: tuple[str, ...]
    filters_before: int
    filters_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    latency_before_ms: float
    latency_after_ms: float
    latency_one_before_ms: float
    latency_one_after_ms: float
    seconds: float
    eval: str | None

    def remark(self) -> str | None:
        """What the user should know of the training; None if it made the network better.

        Few images of many classes are soon known by heart, and the BatchNorms' statistics become those of their views.
        """
        if self.top1_ls is None or self.top1_after is None or self.top1_after >= self.top1_ls:
            return None
        return (
            f"the training took top-1 from {self.top1_ls:.1%} to {self.top1_after:.1%}: --repair ls keeps the first;"
            " more images or a lower --lr may do better"
        )


def compare(
    teacher: Classifier,
    network: nn.Module,
    *,
    images: LabelledSet | None,
    eval: str | None,
    top1_before: float | None,
    pruned: Pruned,
    example_NCHW: Tensor,
    clock: Latency,
    seconds: float,
) -> PruneReport:
    """The report of a pruned network beside its teacher.

    Args:
        images: what ``eval`` names; None without any.
        network: the pruned one.
        top1_before: the teacher's, which was measured before the work.
        pruned: what was measured of the network before it was trained.
        example_NCHW: one image, on the device of both networks.
        clock: measures both networks.
        seconds: of scoring, surgery and training.
    """
    both = [teacher.network, network]
    latency = one = clock.of_networks(both, example_NCHW)
    if clock.batch > 1:
        one = replace(clock, batch=1).of_networks(both, example_NCHW)
    return PruneReport(
        top1_before=top1_before,
        top1_raw=pruned.top1_raw,
        top1_ls=pruned.top1_ls,
        blocks_removed=dropped_blocks(network),
        top1_after=top1(network, images, teacher.preprocessing) if images else None,
        filters_before=num_filters(teacher.network),
        filters_after=num_filters(network),
        parameters_before=num_parameters(teacher.network),
        parameters_after=num_parameters(network),
        macs_before=count_macs(teacher.network, example_NCHW),
        macs_after=count_macs(network, example_NCHW),
        latency_before_ms=round(latency[0], 4),
        latency_after_ms=round(latency[1], 4),
        latency_one_before_ms=round(one[0], 4),
        latency_one_after_ms=round(one[1], 4),
        seconds=seconds,
        eval=eval,
    )


def _latency(after: float, before: float) -> str:
    return f"{after:.4g} ({after / before:.3g} of the teacher's {before:.4g})"


def _timed(images: str, config: PruneConfig) -> str:
    return f"milliseconds {images}{', compiled' if config.latency_compile else ''}"


def outcome(config: PruneConfig, report: PruneReport) -> Outcome:
    out = config.out
    return Outcome(
        rows={
            "result": out,
            "teacher top-1": report.top1_before,
            "as it was cut": report.top1_raw,
            "repaired by least squares": report.top1_ls,
            "pruned network's top-1": report.top1_after,
            "blocks removed": ", ".join(report.blocks_removed) or None,
            "filters": share_of(report.filters_after, report.filters_before),
            "parameters": share_of(report.parameters_after, report.parameters_before),
            "multiply-adds an image": share_of(report.macs_after, report.macs_before),
            _timed("an image", config): _latency(report.latency_one_after_ms, report.latency_one_before_ms),
            _timed(f"for {config.latency_batch} images", config): _latency(
                report.latency_after_ms, report.latency_before_ms
            )
            if config.latency_batch > 1
            else None,
            "all layers": out / LAYERS,
            "seconds of work": report.seconds,
            "measured on": report.eval,
        },
        next_steps=steps_with_model(out, measured=bool(report.eval)),
    )


def pruned_card(config: PruneConfig, report: PruneReport, teacher: Classifier) -> ModelCard:
    """The card of the pruned network."""
    return ModelCard(
        title=config.out.resolve().name,
        summary=f"An image classifier: {cut_path(teacher.title)} without its least important channels and blocks,"
        " repaired on synthetic images that were made from it alone. No training image was used.",
        base_model=teacher.name,
        architecture=teacher.architecture,
        num_classes=teacher.num_classes,
        class_names=teacher.class_names,
        preprocessing=teacher.preprocessing,
        figures={
            "top-1": percent(report.top1_after),
            "top-1 of the teacher": percent(report.top1_before),
            "measured on": cut_path(report.eval) if report.eval else None,
            "blocks removed": ", ".join(report.blocks_removed) or None,
            "filters": share_of(report.filters_after, report.filters_before),
            "parameters": share_of(report.parameters_after, report.parameters_before),
            "multiply-adds an image": share_of(report.macs_after, report.macs_before),
            _timed("an image", config): _latency(report.latency_one_after_ms, report.latency_one_before_ms),
            "seconds of work": report.seconds,
        },
        top1=report.top1_after,
        measured_on=report.eval,
        command=command_line("di-prune", config, for_others=True),
        tags=("pruning",),
    )
