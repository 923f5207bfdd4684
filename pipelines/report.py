"""The report of a pipeline run: every network and shard folder in one table."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console
from rich.table import Table

from .plan import Pipeline

_SCORES = {  # what the table shows of a score, and under which title
    "images": "images",
    "agreement": "teacher agrees",
    "verifier_agreement": "verifier agrees",
    "diversity": "diversity",
    "statistics_distance": "BN distance",
    "frechet": "Fréchet",
}


def make_report(pipeline: Pipeline, stages: dict[str, Any]) -> dict[str, Any]:
    from ..shared.models.cost import count_macs, paired_latency_ms

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
    from ..shared.shards.quality import score_folder

    asked, device = dataclasses.asdict(pipeline.score), pipeline.stages[0].config.device
    return {folder.name: score_folder(folder, device=device, **asked).flat() for folder in pipeline.shard_folders}


def _networks(pipeline: Pipeline) -> tuple[dict[str, Any], Any]:
    """Teacher first, then every network that the pipeline made, and one blank image."""

    from ..shared.core.device import pick_device
    from ..shared.models.classifier import load_model, reload_model
    from ..shared.shards.folder import ShardFolder

    makers = [stage for stage in pipeline.stages if stage.kind != "invert"]
    first = next(stage for stage in pipeline.stages)
    folder = makers[0].config.shards if makers else first.config.out
    device = pick_device(first.config.device)
    teacher = reload_model(ShardFolder.open(folder).manifest.teacher, device=device)
    networks = {"teacher": teacher.network}
    networks |= {stage.name: load_model(str(stage.config.out), device=device).network for stage in makers}
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
