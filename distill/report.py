"""What a run of ``di-distill`` measured, in the words of its last table and of its model card."""

from __future__ import annotations

from dataclasses import dataclass

from ..shared.cli.outcome import Outcome, share_of, steps_with_model
from ..shared.core.files import cut_path
from ..shared.models.identity import ClassifierRecord
from ..shared.models.preprocessing import Preprocessing
from ..shared.report.card import ModelCard
from ..shared.report.commands import command_line
from ..shared.report.parts import percent
from .config import DistillConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillReport:
    """What a run measured.

    Attributes:
        teacher_top1, student_top1: on the images of ``eval``, 0 to 1; None without any, or without the teacher.
        inherited: whether the student began as a part of its teacher.
        agreement: share of stored images for which the student answers as the teacher did
            (:class:`~.measuring.Agreement`), 0 to 1.
        parameters, macs: of the student; multiply-adds of one image. ``teacher_`` are the teacher's, None without it.
        seconds: of training, over all calls that it took.
    """

    teacher_top1: float | None
    student_top1: float | None
    inherited: bool = False
    agreement: float | None = None
    parameters: int | None = None
    teacher_parameters: int | None = None
    macs: int | None = None
    teacher_macs: int | None = None
    seconds: float
    eval: str | None


def outcome(config: DistillConfig, report: DistillReport) -> Outcome:
    out = config.out
    return Outcome(
        rows={
            "result": out,
            "teacher top-1": report.teacher_top1,
            "student top-1": report.student_top1,
            "agreement with the teacher": report.agreement,
            "began as": "a part of its teacher" if report.inherited else None,
            "parameters": share_of(report.parameters, report.teacher_parameters),
            "multiply-adds an image": share_of(report.macs, report.teacher_macs),
            "seconds of training": report.seconds,
            "measured on": report.eval,
        },
        next_steps=steps_with_model(out, measured=bool(report.eval)),
    )


def student_card(
    config: DistillConfig, report: DistillReport, teacher: ClassifierRecord, architecture: str | None
) -> ModelCard:
    """The card of the student.

    Args:
        architecture: the name that builds the student; None for a module in memory.
    """
    name = cut_path(teacher.title)
    own = cut_path(architecture) if architecture else None
    return ModelCard(
        title=config.out.resolve().name,
        summary=f"An image classifier ({own or 'a network in memory'}), trained on synthetic images that were made from"
        f" its teacher, {name}, alone. No training image of the teacher was used.",
        base_model=teacher.name,
        architecture=architecture,
        num_classes=teacher.num_classes,
        class_names=teacher.class_names,
        preprocessing=Preprocessing.of(teacher),
        figures={
            "top-1": percent(report.student_top1),
            "top-1 of the teacher": percent(report.teacher_top1),
            "measured on": cut_path(report.eval) if report.eval else None,
            "agreement with the teacher on its synthetic images": percent(report.agreement),
            "parameters": share_of(report.parameters, report.teacher_parameters),
            "multiply-adds an image": share_of(report.macs, report.teacher_macs),
            "seconds of training": report.seconds,
        },
        top1=report.student_top1,
        measured_on=report.eval,
        command=command_line("di-distill", config, for_others=True),
        tags=("distillation",),
    )
