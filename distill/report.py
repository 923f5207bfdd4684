"""What a run of ``di-distill`` measured, in the words of its last table."""

from __future__ import annotations

from dataclasses import dataclass

from ..shared.cli.outcome import Outcome, share_of, steps_with_model
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
