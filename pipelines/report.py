"""The report of a pipeline run: every network and every shard folder, as one record and as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ..shared.cli.commandline import plain
from ..shared.core.errors import printable
from .plan import Pipeline, makes_network

if TYPE_CHECKING:
    from ..shared.report.confusions import Confusion  # which imports torch

_SCORES = {  # the measures of a shard folder that the table shows, and their titles
    "images": "images",
    "agreement": "teacher agrees",
    "verifier_agreement": "verifier agrees",
    "diversity": "diversity",
    "statistics_distance": "BN distance",
    "frechet": "Fréchet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage did.

    Attributes:
        stage: its kind, a key of :data:`~.plan.STAGES`.
        wall_seconds: of the call that did the work.
        result: the stage's own report.
        place: the kind of device that did it.
        warnings: that it printed.
    """

    stage: str
    wall_seconds: float
    result: dict[str, Any]
    place: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def teacher_top1(self) -> float | None:
        return self._first("teacher_top1", "top1_before", "top1_old_before")

    @property
    def own_top1(self) -> float | None:
        return self._first("student_top1", "top1_after", "top1_joint")

    def _first(self, *names: str) -> float | None:
        """The value of whichever of these keys the stage's report has."""
        return next((self.result[name] for name in names if name in self.result), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """A network of the pipeline, or a file that one was exported to.

    Attributes:
        top1: on the images of ``eval``, 0 to 1; None without any.
        macs: multiply-adds of one image.
        bytes: of its weights, or of the file.
        latency_ms: median milliseconds of one forward pass of ``latency_batch`` images: in torch, or in ONNX Runtime
            on as many threads; None for a file where the networks ran on a GPU.
        seconds: wall time of the stage that made it; None for the teacher.
    """

    name: str
    top1: float | None
    parameters: int
    macs: int
    bytes: int
    latency_ms: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineReport:
    """The whole run; the teacher is the first of ``networks``.

    Attributes:
        seconds: of all stages.
        scores: measures of each shard folder by its name, where the file asks for them.
        eval: the real images that ``confusions`` are of; None without any.
        confusions: of each network that was measured on them.
        class_names: one for each class, or empty.
    """

    seconds: float
    latency_batch: int
    networks: tuple[NetworkRow, ...]
    scores: dict[str, Any]
    stages: dict[str, StageResult]
    eval: str | None = None
    confusions: dict[str, Confusion] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of every stage, each once, with the stage's name."""
        return tuple(dict.fromkeys(f"{name}: {text}" for name, stage in self.stages.items() for text in stage.warnings))

    def as_mapping(self) -> dict[str, Any]:
        """For ``report.json`` and ``--json``, with ``NAME_top1`` and ``NAME_macs_ratio`` of each network at the top."""
        teacher = self.networks[0]
        return {
            **{f"{row.name}_top1": row.top1 for row in self.networks},
            **{f"{row.name}_macs_ratio": row.macs / teacher.macs for row in self.networks[1:]},
            **dataclasses.asdict(self),
            "warnings": self.warnings,
        }


def make_report(pipeline: Pipeline, stages: Mapping[str, StageResult]) -> PipelineReport:
    """Measure every network of a pipeline whose stages are done."""
    from .measuring import confusions_of, networks_of, rows_of  # imported here, since it imports torch

    teacher, networks = networks_of(pipeline)
    rows = rows_of(pipeline, stages, teacher, networks)
    images, confusions = confusions_of(pipeline, teacher, networks)
    return PipelineReport(
        seconds=round(sum(result.wall_seconds for result in stages.values()), 3),
        latency_batch=pipeline.latency_batch,
        networks=rows,
        scores=_scores(pipeline),
        stages=dict(stages),
        eval=images,
        confusions=confusions,
        class_names=teacher.class_names,
    )


def _scores(pipeline: Pipeline) -> dict[str, Any]:
    """The measures of each shard folder, by its name."""
    if pipeline.score is None:
        return {}
    from ..shared.shards.quality import score_folder

    asked, first = dataclasses.asdict(pipeline.score), pipeline.stages[0].config
    return {
        folder.name: score_folder(folder, code=first.code, device=first.device, **asked).flat()
        for folder in pipeline.shard_folders
    }


def print_report(report: PipelineReport, title: str, out: Path) -> None:
    """The report as tables on stdout, and where the results lie."""
    table = Table(title=plain(title), title_justify="left")
    for column in ("network", "top-1", "MACs", f"ms for a batch of {report.latency_batch}", "seconds to make"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in report.networks:
        table.add_row(
            plain(row.name.replace("_", " ")),
            "" if row.top1 is None else f"{100 * row.top1:.2f} %",
            f"{row.macs:,}",
            "" if row.latency_ms is None else f"{row.latency_ms:.3g}",
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
    Console().print(table)
    if report.scores:
        Console().print(_score_table(report.scores))
    images = ", ".join(
        f"{name}: {entry.result['images']:,} images in {entry.wall_seconds:.1f} s"
        for name, entry in report.stages.items()
        if entry.stage == "invert"
    )
    Console().print(plain(f"{images}; {report.seconds:.0f} s in all"))
    lines = {"results": f"{out}/NAME, with each stage's NAME, and {out}/report.json"}
    if (out / "report.html").is_file():
        lines["look at it"] = f"{out}/report.html, in a browser"
    made = [name for name, stage in report.stages.items() if makes_network(stage.stage)]
    if made:
        lines["use a network"] = f"dreamdistill.load({str(out / made[-1])!r})"
    if files := [stage.result["file"] for stage in report.stages.values() if stage.stage == "export"]:
        lines["ship a file"] = files[-1]
    if report.networks[0].top1 is None:
        lines["measure all"] = "eval: FOLDER in the pipeline file, with real images"
    for what, how in lines.items():
        click.echo(printable(f"  {what + ':':15} {how}"))


def _score_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """The shard folders, and in a last row the real images that they are compared with."""
    table = Table(title="shards", title_justify="left")
    rows = {name.replace("_", " "): values for name, values in scores.items()}
    first = next(iter(scores.values()))
    rows |= {"real": {name: first.get(f"real_{name}") for name in _SCORES}} if "real_images" in first else {}
    names = [name for name in _SCORES if first[name] is not None]
    for column in ("", *(_SCORES[name] for name in names)):
        table.add_column(column, justify="right" if column else "left")
    for title, values in rows.items():
        cells = [values.get(name) for name in names]
        table.add_row(
            plain(title), *("" if v is None else f"{v:,}" if isinstance(v, int) else f"{v:.3g}" for v in cells)
        )
    return table
