"""What a run of ``di-prune`` measured, in the words of its last table."""

from __future__ import annotations

from dataclasses import dataclass

from ..shared.cli.outcome import Outcome, share_of
from .config import PruneConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """The network before and after.

    Attributes:
        top1_before, top1_after: on the images of ``eval``, 0 to 1; None without any.
        filters_before, filters_after: outputs of all 2-d convolutions.
        macs_before, macs_after: multiply-adds of one image.
        latency_before_ms, latency_after_ms: of one forward of ``latency_batch`` images, medians, measured in turn.
        seconds: of scoring, surgery and training.
    """

    top1_before: float | None
    top1_after: float | None
    filters_before: int
    filters_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    latency_before_ms: float
    latency_after_ms: float
    seconds: float
    eval: str | None


def outcome(config: PruneConfig, report: PruneReport) -> Outcome:
    out = config.out
    return Outcome(
        rows={
            "result": out,
            "teacher top-1": report.top1_before,
            "pruned network's top-1": report.top1_after,
            "convolution filters": share_of(report.filters_after, report.filters_before),
            "parameters": share_of(report.parameters_after, report.parameters_before),
            "multiply-adds an image": share_of(report.macs_after, report.macs_before),
            "milliseconds a batch": f"{report.latency_after_ms:.4g} (the teacher's {report.latency_before_ms:.4g})",
            "seconds of work": report.seconds,
            "measured on": report.eval,
        },
        next_steps={
            **({} if report.eval else {"measure it on real images": "the same command with --eval FOLDER"}),
            "use it in Python": f"dreamdistill.load({str(out)!r})",
            "make images of it": f"di-invert --teacher {out}",
        },
    )
