"""The page of a pipeline run, ``report.html``: one file, made from the run's report and its folders.

A run that is done does not fail for its page: what cannot be shown is said in a warning in its place.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from ..shared.cli.effects import warn
from ..shared.core.errors import named, printable
from ..shared.core.files import write_text
from ..shared.models.epochs import Epoch, read_epochs
from ..shared.report.commands import SAYS_NOTHING, command_line
from ..shared.report.confusions import confusion_parts
from ..shared.report.figures import NetworkFigures, networks_charts, networks_table
from ..shared.report.page import report_page
from ..shared.report.parts import (
    Html,
    Section,
    card,
    code,
    duration,
    facts,
    note,
    paragraph,
    percent,
    side_by_side,
    warning,
)
from ..shared.report.shard_parts import KEPT, shard_parts
from ..shared.report.training import training_charts
from .plan import Pipeline, Stage
from .report import PipelineReport, StageResult

_COMMANDS = {"invert": "di-invert", "distill": "di-distill", "prune": "di-prune", "extend": "di-extend"}


def write_page(pipeline: Pipeline, report: PipelineReport) -> None:
    """Write ``report.html`` beside ``report.json``, or warn that it could not be written."""
    path = pipeline.out / KEPT
    try:
        write_text(path, run_page(pipeline, report))
    except Exception as error:  # the run itself is done
        warn(f"{path} was not written: {named(error)}")


def run_page(pipeline: Pipeline, report: PipelineReport) -> str:
    """The page's text."""
    sections = [
        _section("Networks", lambda: _networks(report)),
        _section("Images", lambda: _images(pipeline)),
        _section("Training", lambda: _training(pipeline, report)),
        _section("Confusion", lambda: _confusions(report)),
        _section("What was done", lambda: _stages(pipeline, report)),
        _section("Warnings", lambda: _warnings(report)),
    ]
    return report_page(
        [section for section in sections if section.parts],
        title=Path(pipeline.name).stem,
        kind="dreamdistill · run report",
        lead=_lead(report),
        figures=_figures(report),
    )


def _section(title: str, make: Callable[[], Sequence[Html]]) -> Section:
    return Section(title=title, parts=_guarded(make))


def _guarded(make: Callable[[], Sequence[Html]]) -> Sequence[Html]:
    """Parts, or in their place a warning that says why there are none."""
    try:
        return make()
    except Exception as error:  # files may have been damaged, or deleted, since they were written
        return [warning(f"This cannot be shown: {named(error)}")]


def _lead(report: PipelineReport) -> str:
    made = [row.name.replace("_", " ") for row in report.networks[1:]]
    what = f"Made from one teacher, without its training data: {', '.join(made)}." if made else "Images of one teacher."
    return f"{what} Measured on {report.eval}." if report.eval else f"{what} Not measured on real images."


def _figures(report: PipelineReport) -> dict[str, object]:
    teacher, made = report.networks[0], report.networks[1:]
    images = sum(stage.result.get("images", 0) for stage in report.stages.values() if stage.stage == "invert")
    found: dict[str, object] = {} if teacher.top1 is None else {"teacher's top-1": percent(teacher.top1)}
    measured = [row for row in made if row.top1 is not None]
    if measured:
        best = max(measured, key=lambda row: row.top1 or 0)
        found[f"best top-1: {best.name.replace('_', ' ')}"] = percent(best.top1)
    if made:
        smallest = min(made, key=lambda row: row.macs)
        found["fewest multiply-adds"] = f"{smallest.macs / teacher.macs:.3g} x"
    return {**found, "images made": f"{images:,}", "time of all stages": duration(report.seconds)}


def _networks(report: PipelineReport) -> list[Html]:
    rows = [
        NetworkFigures(
            name=row.name.replace("_", " "),
            top1=row.top1,
            agreement=report.stages[row.name].result.get("agreement") if row.name in report.stages else None,
            parameters=row.parameters,
            macs=row.macs,
            latency_ms=row.latency_ms,
            seconds=row.seconds,
        )
        for row in report.networks
    ]
    charts = networks_charts(rows, latency_batch=report.latency_batch)
    table = networks_table(rows, latency_batch=report.latency_batch)
    return [table, side_by_side(charts)] if charts else [table]


def _images(pipeline: Pipeline) -> list[Html]:
    return [
        card(folder.name.replace("_", " "), "", _guarded(lambda folder=folder: shard_parts(folder)))
        for folder in pipeline.shard_folders
    ]


def _training(pipeline: Pipeline, report: PipelineReport) -> list[Html]:
    runs: dict[str, list[Epoch]] = {}
    colours: dict[str, int] = {}
    parts: list[Html] = []
    for number, row in enumerate(report.networks):
        stage = next((stage for stage in pipeline.stages if stage.name == row.name), None)
        if stage is None:
            continue
        name = row.name.replace("_", " ")
        try:
            runs[name], colours[name] = read_epochs(stage.config.out), number
        except (OSError, ValueError) as error:
            parts.append(warning(f"The curve of {name} cannot be shown, since its metrics.jsonl is damaged: {error}"))
    charts = training_charts(runs, colours=colours, teacher=report.networks[0].top1)
    return [*parts, charts] if charts else parts


def _confusions(report: PipelineReport) -> list[Html]:
    found = {name.replace("_", " "): each for name, each in report.confusions.items()}
    return confusion_parts(found, report.class_names, images=str(report.eval))


def _stages(pipeline: Pipeline, report: PipelineReport) -> list[Html]:
    words = ["di-run", pipeline.name]
    for name, value in pipeline.changes.items():
        if name not in SAYS_NOTHING:
            words += [f"--{name.replace('_', '-')}", str(value)]
    parts = [paragraph("The whole run again; what is done is not done twice:"), code(shlex.join(map(printable, words)))]
    parts.append(note("Or stage by stage. Options that are not named have their defaults."))
    stages = list(enumerate(pipeline.stages, 1))
    return [*parts, *(_stage(number, stage, report.stages[stage.name]) for number, stage in stages)]


def _stage(number: int, stage: Stage, done: StageResult) -> Html:
    rows = {"time": duration(done.wall_seconds), "place": done.place or None, "result": stage.config.out}
    command = command_line(_COMMANDS[stage.kind], stage.config)
    title = f"{number}. {stage.name.replace('_', ' ')}"
    return card(title, stage.kind, [code(command), facts(rows), *map(warning, done.warnings)])


def _warnings(report: PipelineReport) -> list[Html]:
    return [warning(text) for text in report.warnings] or [paragraph("None.")]
