"""What a run of ``di-prune`` measured."""

from __future__ import annotations

from dataclasses import dataclass


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
