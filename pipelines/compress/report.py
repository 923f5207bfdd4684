"""What ``di-run compress`` says at its end."""

from __future__ import annotations

from dataclasses import dataclass

from ...shared.cli.outcome import Outcome, share_of
from ..plan import Pipeline
from ..report import PipelineReport
from .config import EXPORTED, FILE, IMAGES, SMALL, CompressConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressReport:
    """The network before and after, and its files.

    Attributes:
        top1_before, top1_after, top1_float, top1_int8: of the teacher, the smaller network and its two files on the
            images of ``eval``, 0 to 1; None without any.
        agreement_int8: share of synthetic images for which int8 gives the class that float gives.
        latency_before_ms, latency_after_ms: of ``latency_batch`` images in torch.
        latency_float_ms, latency_int8_ms: of one image in ONNX Runtime, on one thread.
        page: the report for people.
        seconds: of all stages.
    """

    top1_before: float | None
    top1_after: float | None
    top1_float: float | None
    top1_int8: float | None
    agreement_int8: float
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    latency_before_ms: float | None
    latency_after_ms: float | None
    latency_float_ms: float
    latency_int8_ms: float
    images: int
    repair_epochs: int
    file: str
    file_int8: str
    bytes: int
    bytes_int8: int
    page: str
    seconds: float

    @classmethod
    def of(cls, report: PipelineReport, pipeline: Pipeline) -> CompressReport:
        """From the report of the pipeline that was chosen."""
        rows = {row.name: row for row in report.networks}
        before, after = rows["teacher"], rows[SMALL]
        made = {stage.name: stage.config for stage in pipeline.stages}
        exported = report.stages[EXPORTED].result
        return cls(
            top1_before=before.top1,
            top1_after=after.top1,
            top1_float=exported["top1"],
            top1_int8=exported["top1_int8"],
            agreement_int8=exported["agreement_int8"],
            parameters_before=before.parameters,
            parameters_after=after.parameters,
            macs_before=before.macs,
            macs_after=after.macs,
            latency_before_ms=before.latency_ms,
            latency_after_ms=after.latency_ms,
            latency_float_ms=exported["latency_ms"],
            latency_int8_ms=exported["latency_int8_ms"],
            images=made[IMAGES].images,
            repair_epochs=made[SMALL].training.epochs,
            file=exported["file"],
            file_int8=exported["file_int8"],
            bytes=exported["bytes"],
            bytes_int8=exported["bytes_int8"],
            page=str(pipeline.out / "report.html"),
            seconds=report.seconds,
        )


def outcome(config: CompressConfig, report: CompressReport) -> Outcome:
    out = config.out
    return Outcome(
        rows={
            "teacher top-1": report.top1_before,
            "smaller network's top-1": report.top1_after,
            "its float file's": report.top1_float,
            "its int8 file's": report.top1_int8,
            "int8 agrees with float": report.agreement_int8,
            "parameters": share_of(report.parameters_after, report.parameters_before),
            "multiply-adds an image": share_of(report.macs_after, report.macs_before),
            "milliseconds an image, float file": report.latency_float_ms,
            "milliseconds an image, int8 file": report.latency_int8_ms,
            "float file": f"{report.file} ({report.bytes / 1e6:.3g} MB)",
            "int8 file": f"{report.file_int8} ({report.bytes_int8 / 1e6:.3g} MB)",
            "seconds of work": report.seconds,
            "measured on": config.eval,
        },
        next_steps={
            "look at it": f"{report.page}, in a browser",
            "use it in Python": f"dreamdistill.load({str(out / SMALL)!r})",
            "change what was chosen": f"edit a copy of {out / FILE}, and di-run it",
            **({} if config.eval else {"measure it on real images": "the same command with --eval and another --out"}),
        },
    )
