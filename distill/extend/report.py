"""What a run of ``di-extend`` measured, in the words of its last table and of its model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...shared.cli.outcome import Outcome, steps_with_model
from ...shared.core.files import cut_path
from ...shared.models.classifier import Classifier
from ...shared.report.card import ModelCard
from ...shared.report.commands import command_line
from ...shared.report.confusions import Confusion, name_of
from ...shared.report.parts import percent
from .config import ExtendConfig

MISTAKES = 3  # that people are shown
TOLD_APART = 0.95  # share of images from which on "synthetic" is a class of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendReport:
    """What a run measured. Accuracies are shares of the images of ``eval``, 0 to 1; None without any.

    Attributes:
        classes_old, classes_new: how many.
        class_names: of all of them, the old ones first, or empty.
        images_synthetic, images_new: that the network learned from.
        top1_old_before: of the teacher on images of its own classes, among which alone it chooses.
        top1_old, top1_new, top1_joint: of the network on images of the old classes, the new ones, and all of them. It
            chooses among all classes each time.
        separation_before, separation: share of held-out images, synthetic and real ones of the old classes, that a
            linear classifier of the features tells apart: the teacher's, and the network's. 0.5 is chance.
        confusion: what the network took for what; None without ``eval``.
        seconds: of training, over all calls that it took.
    """

    classes_old: int
    classes_new: int
    class_names: tuple[str, ...]
    images_synthetic: int
    images_new: int
    top1_old_before: float | None
    top1_old: float | None
    top1_new: float | None
    top1_joint: float | None
    separation_before: float | None
    separation: float | None
    confusion: Confusion | None
    seconds: float
    eval: str | None


def mistakes(report: ExtendReport) -> str | None:
    """The most frequent mistakes in words."""
    if report.confusion is None:
        return None
    return "; ".join(
        f"{name_of(each.true, report.class_names)} as {name_of(each.answered, report.class_names)} ({each.images})"
        for each in report.confusion.mistakes[:MISTAKES]
    )


def alarm(report: ExtendReport) -> str | None:
    """A warning, if the network has learned to tell synthetic images from real ones; None if it has not.

    Then what it knows of the old classes holds for synthetic images alone, and it takes real ones for new classes.
    """
    if report.separation is None or report.separation < TOLD_APART:
        return None
    return (
        f"the network tells synthetic from real images of the old classes ({report.separation:.0%} of them), so it may"
        " have lost the old classes: look at their top-1, and compare --criterion abd, and lwf-mc with --share 1"
    )


def outcome(config: ExtendConfig, report: ExtendReport) -> Outcome:
    return Outcome(
        rows={
            "result": config.out,
            "classes": f"{report.classes_old:,} old, {report.classes_new:,} new",
            "images": f"{report.images_synthetic:,} synthetic, {report.images_new:,} new",
            "top-1 of old classes before": report.top1_old_before,
            "top-1 of old classes": report.top1_old,
            "top-1 of new classes": report.top1_new,
            "top-1 of all": report.top1_joint,
            "told apart from synthetic": report.separation,
            "most frequent mistakes": mistakes(report),
            "seconds of training": report.seconds,
            "measured on": report.eval,
        },
        next_steps=steps_with_model(config.out, measured=bool(report.eval)),
    )


def extended_card(
    config: ExtendConfig, report: ExtendReport, teacher: Classifier, class_names: Sequence[str]
) -> ModelCard:
    """The card of the network."""
    return ModelCard(
        title=config.out.resolve().name,
        summary=f"An image classifier that was {cut_path(teacher.title)}, and has learned {report.classes_new:,} more"
        " classes from real images of them, and from synthetic images of the classes that it knew before.",
        base_model=teacher.name,
        architecture=teacher.architecture,
        num_classes=report.classes_old + report.classes_new,
        class_names=class_names,
        preprocessing=teacher.preprocessing,
        figures={
            "top-1": percent(report.top1_joint),
            "top-1 of the old classes": percent(report.top1_old),
            "top-1 of the old classes before, among them alone": percent(report.top1_old_before),
            "top-1 of the new classes": percent(report.top1_new),
            "measured on": cut_path(report.eval) if report.eval else None,
            "most frequent mistakes": mistakes(report),
            "images of the new classes": report.images_new,
            "synthetic images of the old classes": report.images_synthetic,
            "seconds of training": report.seconds,
        },
        top1=report.top1_joint,
        measured_on=report.eval,
        command=command_line("di-extend", config, for_others=True),
        tags=("class-incremental-learning",),
        limits=("Images of the old classes took no part in it: they may be answered less well than before.",),
    )
