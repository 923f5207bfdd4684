"""``di-run``: the stages of a pipeline file in order, a report and a table at the end."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..shared.commandline import (
    context_settings,
    debug_option,
    dry_run_option,
    json_option,
    run_command,
    version_option,
)
from ..shared.errors import ConfigError
from ..shared.launch import require_alone
from .plan import Pipeline, Stage, load_pipeline

_SCORES = {  # what the table shows of a score, and under which title
    "images": "images",
    "agreement": "teacher agrees",
    "verifier_agreement": "verifier agrees",
    "diversity": "diversity",
    "statistics_distance": "BN distance",
    "frechet": "Fréchet",
}


def run(pipeline: Pipeline) -> dict[str, Any]:
    """Run every stage that is not done, write ``report.json`` and return it.

    The report has ``teacher_top1``, ``NAME_top1`` of each distill and prune stage and ``NAME_macs_ratio`` (fractions
    from 0 to 1), ``seconds``, ``networks`` (a row each), ``scores`` (of each shard folder, if the file asks for
    them) and ``stages`` (each one's own report).

    Raises:
        ConfigError: torchrun started several processes.
        DreamError: a stage failed; what was done stays, and the next run goes on from there.
    """
    from ..shared.runtime import write_text

    require_alone("di-run")
    path = pipeline.out / "report.json"
    before = _earlier_stages(path)
    stages: dict[str, Any] = {}
    for stage in pipeline.stages:
        print(f"{stage.name} ({stage.kind})", file=sys.stderr)
        _check_round(stage)
        begun = time.monotonic()
        result = dataclasses.asdict(_run_stage(stage))
        entry = {"stage": stage.kind, "wall_seconds": round(time.monotonic() - begun, 3), "result": result}
        stages[stage.name] = before[stage.name] if _same(before.get(stage.name), entry) else entry
    report = _report(pipeline, stages)
    write_text(path, json.dumps(report, indent=1) + "\n")
    return report


def _earlier_stages(path: Path) -> dict[str, Any]:
    """The stages of an earlier report; none if it is not there or damaged, since all of it can be made again."""
    try:
        return json.loads(path.read_text())["stages"]
    except (OSError, ValueError, KeyError):
        return {}


def _check_round(stage: Stage) -> None:
    """Refuse to go on with a round made against another student than there is now: ``--append`` would add one more."""
    if not stage.round:
        return
    from ..shared.checkpoints import read_model_json
    from ..shared.manifest import load_manifest

    rounds = load_manifest(stage.config.out).rounds[stage.round :]
    student = stage.config.student
    if rounds and rounds[0].student != read_model_json(Path(student))["sha256"]:
        raise ConfigError(
            f"round {stage.round + 1} of {stage.config.out} was made against another student than {student} is now:"
            " --overwrite makes all of it anew, another --out leaves it alone"
        )


def _run_stage(stage: Stage) -> Any:
    # Imported here, since they import torch.
    from ..distill import stage as distill
    from ..invert import stage as invert
    from ..prune import stage as prune

    return {"invert": invert, "distill": distill, "prune": prune}[stage.kind].run(stage.config)


def _same(earlier: Any, entry: dict[str, Any]) -> bool:
    """Whether a stage had nothing to do: its result is the earlier one but for the seconds, which stay the earlier."""
    return earlier is not None and {**earlier["result"], "seconds": 0} == {**entry["result"], "seconds": 0}


def _report(pipeline: Pipeline, stages: dict[str, Any]) -> dict[str, Any]:
    from ..shared.cost import count_macs, paired_latency_ms

    results = {name: entry["result"] for name, entry in stages.items()}
    top1 = {"teacher": next((t for r in results.values() if (t := _teacher_top1(r)) is not None), None)}
    top1 |= {s.name: _own_top1(results[s.name]) for s in pipeline.stages if s.kind != "invert"}
    networks, example_NCHW = _networks(pipeline)
    macs = {name: count_macs(network, example_NCHW) for name, network in networks.items()}
    batch_NCHW = example_NCHW.expand(pipeline.latency_batch, -1, -1, -1).contiguous()
    latency = dict(zip(networks, paired_latency_ms(list(networks.values()), batch_NCHW), strict=True))
    return {
        **{f"{name}_top1": top1.get(name) for name in networks},
        **{f"{name}_macs_ratio": macs[name] / macs["teacher"] for name in networks if name != "teacher"},
        "seconds": round(sum(entry["wall_seconds"] for entry in stages.values()), 3),
        "latency_batch": pipeline.latency_batch,
        "scores": _scores(pipeline),
        "networks": [
            {
                "name": name,
                "top1": top1.get(name),
                "macs": macs[name],
                "latency_ms": round(latency[name], 4),
                "seconds": stages[name]["wall_seconds"] if name in stages else None,
            }
            for name in networks
        ],
        "stages": stages,
    }


def _scores(pipeline: Pipeline) -> dict[str, Any]:
    """Of each shard folder, by its name."""
    if pipeline.score is None:
        return {}
    from ..shared.score import score_folder

    asked, device = dataclasses.asdict(pipeline.score), pipeline.stages[0].config.device
    return {folder.name: score_folder(folder, device=device, **asked).flat() for folder in pipeline.shard_folders}


def _networks(pipeline: Pipeline) -> tuple[dict[str, Any], Any]:
    """Teacher first, then every network that the pipeline made, and one blank image."""

    from ..shared.runtime import pick_device
    from ..shared.shards import ShardFolder
    from ..shared.teachers import load_teacher, reload_teacher

    makers = [stage for stage in pipeline.stages if stage.kind != "invert"]
    first = next(stage for stage in pipeline.stages)
    folder = makers[0].config.shards if makers else first.config.out
    device = pick_device(first.config.device)
    teacher = reload_teacher(ShardFolder.open(folder).manifest.teacher, device=device)
    networks = {"teacher": teacher.network}
    networks |= {stage.name: load_teacher(str(stage.config.out), device=device).network for stage in makers}
    return networks, teacher.preprocessing.blank(1, device)


def _teacher_top1(result: dict[str, Any]) -> float | None:
    return result.get("teacher_top1", result.get("top1_before"))


def _own_top1(result: dict[str, Any]) -> float | None:
    return result.get("student_top1", result.get("top1_after"))


def print_report(report: dict[str, Any], title: str) -> None:
    """The networks as a table on stdout."""
    table = Table(title=title, title_justify="left")
    for column in ("network", "top-1", "MACs", f"ms a batch of {report['latency_batch']}", "seconds to make"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in report["networks"]:
        table.add_row(
            row["name"].replace("_", " "),
            "" if row["top1"] is None else f"{100 * row['top1']:.2f} %",
            f"{row['macs']:,}",
            f"{row['latency_ms']:.3g}",
            "" if row["seconds"] is None else f"{row['seconds']:.1f}",
        )
    Console().print(table)
    if report["scores"]:
        Console().print(_score_table(report["scores"]))
    images = ", ".join(
        f"{name} {entry['result']['images']:,} images in {entry['wall_seconds']:.1f} s"
        for name, entry in report["stages"].items()
        if entry["stage"] == "invert"
    )
    Console().print(f"{images}; {report['seconds']:.0f} s in all", highlight=False)


def _score_table(scores: dict[str, Any]) -> Table:
    """The shard folders, and the real images that they are set beside in a last row."""
    table = Table(title="shards", title_justify="left")
    rows = {name.replace("_", " "): values for name, values in scores.items()}
    first = next(iter(scores.values()))
    rows |= {"real": {name: first.get(f"real_{name}") for name in _SCORES}} if "real_images" in first else {}
    names = [name for name in _SCORES if first[name] is not None]
    for column in ("", *(_SCORES[name] for name in names)):
        table.add_column(column, justify="right" if column else "left")
    for title, values in rows.items():
        cells = [values.get(name) for name in names]
        table.add_row(title, *("" if v is None else f"{v:,}" if isinstance(v, int) else f"{v:.3g}" for v in cells))
    return table


def _main(pipeline: str, as_json: bool, dry_run_only: bool, debug: bool, **changes: Any) -> None:
    plan = load_pipeline(pipeline, {key: value for key, value in changes.items() if value is not None})
    if dry_run_only:
        steps = {stage.name: {"stage": stage.kind, "out": str(stage.config.out)} for stage in plan.stages}
        click.echo(
            json.dumps(steps) if as_json else "\n".join(f"{n}: {s['stage']} -> {s['out']}" for n, s in steps.items())
        )
        return
    report = run(plan)
    if as_json:
        click.echo(json.dumps(report))
    else:
        print_report(report, pipeline)


command = click.Command(
    "di-run",
    help="Run the stages of a pipeline file, or of a shipped one (quickstart, cifar10, cifar10-adi, imagenet), skipping"
    " what is done.",
    callback=_main,
    context_settings=context_settings("di-run"),
    params=[
        click.Argument(["pipeline"]),
        click.Option(["--out"], type=click.Path(path_type=Path), help="folder for all results, in place of the file's"),
        click.Option(["--seed"], type=int, help="seed of every stage, in place of the file's"),
        click.Option(["--device"], help="auto, cpu, cuda or cuda:N"),
        click.Option(["--overwrite/--no-overwrite"], default=None, help="run every stage anew"),
        dry_run_option(),
        json_option(),
        debug_option(),
        version_option(),
    ],
)


def main() -> None:
    sys.exit(run_command(command))
