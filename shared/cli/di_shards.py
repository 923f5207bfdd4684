"""``di-shards``: show, verify and score a synthetic data set, and make a picture or a page of it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..core.config import GENERAL, StageConfig, settings_of
from ..core.errors import ConfigError, DreamError, PartialError
from ..core.files import check_is_file_place
from ..core.values import Setting
from .commandline import context_settings, print_result, run_command
from .common_options import debug_option, json_option, version_option
from .setting_options import option_of
from .shard_report import report_command
from .stdout import stdout_to_stderr

_FOLDER = click.Argument(["folder"], type=click.Path(path_type=Path), default=Path("shards"))


def _show(folder: Path, watch: bool, every: float, as_json: bool, debug: bool) -> None:
    if watch:
        _watch(folder, every, as_json)
        return
    from ..shards.folder import ShardFolder
    from ..shards.records import read_failures
    from ..shards.verdict import verdict

    shards = ShardFolder.open(folder)
    teacher, records = shards.manifest.teacher, list(shards.records.values())
    failures = read_failures(folder, shards.manifest.shards())
    summary: dict[str, Any] = {
        "teacher": teacher.title,
        "classes": teacher.num_classes,
        "image_size": teacher.image_size,
        "recipes": ", ".join(item.recipe["name"] for item in shards.manifest.rounds),
        "images": shards.num_samples,
        "images_planned": shards.num_planned,
        "shards": len(records),
        **({"failed": len(failures)} if failures else {}),
        "bytes": sum(r.bytes for r in records),
        "agreement": shards.agreement,
        "verdict": verdict(records),
        "clipped": shards.clipped,
        "worker_seconds": round(sum(r.seconds for r in records), 3),
    }
    for name in records[0].losses:
        summary[f"loss_{name}"] = sum(r.losses.get(name, 0.0) for r in records) / len(records)
    print_result(summary, as_json=as_json, title=str(folder))


def _watch(folder: Path, every: float, as_json: bool) -> None:
    """Show the status of the run again and again, until it has ended."""
    if not 0.1 <= every <= 3600:
        raise ConfigError("--every must lie in 0.1..3600 seconds")
    from ..shards.monitor import RunMonitor
    from .monitor_view import MonitorView

    monitor = RunMonitor(folder)
    try:
        with MonitorView(str(folder), as_json=as_json) as view:
            while True:
                status = monitor.status()
                view.show(status)
                if status.state == "done":
                    return
                if status.state == "idle" and status.shards + len(status.failures) == status.shards_planned:
                    raise PartialError(
                        f"{len(status.failures)} of {status.shards_planned} shards failed and no worker is running:"
                        " run the same di-invert again"
                    )
                time.sleep(every)
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # at exit, Python flushes without an error
        raise DreamError("the reader of stdout closed it; run the command again to go on watching") from error


def _verify(folder: Path, as_json: bool, debug: bool) -> None:
    from ..shards.verification import verify

    problems = verify(folder)
    if problems:
        what = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DreamError(f"{what} in {folder}: {'; '.join(problems)}")
    print_result({"folder": str(folder), "problems": 0}, as_json=as_json, title="di-shards verify")


def _score(
    folder: Path,
    verifier: str | None,
    verifier_weights: str | None,
    real: str | None,
    teacher: str | None,
    weights: str | None,
    code: tuple[Path, ...] | None,
    device: str,
    as_json: bool,
    debug: bool,
) -> None:
    from ..shards.quality import score_folder

    with stdout_to_stderr():
        found = score_folder(
            folder,
            teacher=teacher,
            weights=weights,
            verifier=verifier,
            verifier_weights=verifier_weights,
            real=real,
            code=code or (),
            device=device,
        )
    print_result(found.flat(), as_json=as_json, title=str(folder))


def _gallery(
    folder: Path,
    out: Path | None,
    columns: int,
    side: int | None,
    classes: tuple[int, ...] | None,
    labels: bool,
    as_json: bool,
    debug: bool,
) -> None:
    from ..shards.folder import ShardFolder
    from ..shards.gallery import write_gallery

    for name, value in (("columns", columns), ("side", side)):
        if value is not None and not 1 <= value <= 1000:
            raise ConfigError(f"--{name} must lie in 1..1000")
    path = out or folder / "gallery.png"
    check_is_file_place(path)
    shards = ShardFolder.open(folder)
    shown, images = write_gallery(shards, path, columns=columns, classes=classes, side=side, labels=labels)
    print_result({"gallery": str(path), "classes": shown, "images": images}, as_json=as_json, title="di-shards gallery")


command = click.Group(
    "di-shards",
    help="Show, verify and score a synthetic data set, make a picture or a page of it. FOLDER is shards/ by default.",
    params=[version_option()],
    context_settings=context_settings("di-shards"),
    commands=[
        click.Command(
            "show",
            callback=_show,
            params=[
                _FOLDER,
                click.Option(
                    ["--watch"],
                    is_flag=True,
                    help="show the status of the run until it ends, on any machine; --json: a line each time",
                ),
                click.Option(
                    ["--every"],
                    type=float,
                    metavar="X",
                    default=2.0,
                    show_default=True,
                    help="seconds between two updates of --watch",
                ),
                json_option(),
                debug_option(),
            ],
            help="Show the contents, or with --watch the status of a run.",
        ),
        click.Command(
            "verify",
            callback=_verify,
            params=[_FOLDER, json_option(), debug_option()],
            help="Check every byte of every file.",
        ),
        click.Command(
            "score",
            callback=_score,
            params=[
                _FOLDER,
                click.Option(
                    ["--verifier"], help="an independent network that judges the images, named as for --teacher"
                ),
                click.Option(["--verifier-weights"], help="weights of the verifier, as for --weights"),
                click.Option(["--real"], help="real images for comparison, named as for --eval"),
                click.Option(["--teacher"], help="the teacher, if it is not where the shards say"),
                click.Option(["--weights"], help="weights of the teacher, if they are not where the shards say"),
                option_of(replace(settings_of(StageConfig)["code"], advanced=False)),
                click.Option(["--device"], default="auto", show_default=True, help="auto, cpu, cuda or cuda:N"),
                json_option(),
                debug_option(),
            ],
            help="Measure the images without a student (FOLDER/score.json).",
        ),
        click.Command(
            "gallery",
            callback=_gallery,
            params=[
                _FOLDER,
                click.Option(
                    ["--out"], type=click.Path(path_type=Path), help="PNG or .jpg to write  [FOLDER/gallery.png]"
                ),
                click.Option(["--columns"], type=int, default=10, show_default=True, help="images of a class, at most"),
                click.Option(
                    ["--side"],
                    type=int,
                    metavar="N",
                    help="side of an image in pixels  [its own, enlarged to 32 or more]",
                ),
                option_of(Setting("classes", tuple[int, ...], None, "classes to show", unset="all", group=GENERAL)),
                click.Option(
                    ["--labels/--no-labels"],
                    default=True,
                    show_default=True,
                    help="class numbers and names, and a caption",
                ),
                json_option(),
                debug_option(),
            ],
            help="Make a picture of the first images of each class.",
        ),
        report_command(_FOLDER),
    ],
)


def main() -> None:
    sys.exit(run_command(command))
