"""``di-shards``: look at a data set, check it, see it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from ..core.config import Setting, coerce
from ..core.errors import ConfigError, DreamError, PartialError
from .commandline import context_settings, debug_option, json_option, print_result, run_command, version_option

_FOLDER = click.Argument(["folder"], type=click.Path(path_type=Path), default=Path("shards"))


def _show(folder: Path, watch: bool, every: float, as_json: bool, debug: bool) -> None:
    if watch:
        _watch(folder, every, as_json)
        return
    from ..shards.folder import ShardFolder
    from ..shards.records import read_failures

    shards = ShardFolder.open(folder)
    teacher, records = shards.manifest.teacher, list(shards.records.values())
    agreement = sum(r.agreement * r.count for r in records) / shards.num_samples
    failures = read_failures(folder, shards.manifest.shards())
    summary: dict[str, Any] = {
        "teacher": teacher["name"],
        "classes": teacher["num_classes"],
        "image_size": teacher["image_size"],
        "recipes": ", ".join(item.recipe["name"] for item in shards.manifest.rounds),
        "images": shards.num_samples,
        "images_planned": shards.num_planned,
        "shards": len(records),
        **({"failed": len(failures)} if failures else {}),
        "bytes": sum(r.bytes for r in records),
        "agreement": agreement,
        "worker_seconds": round(sum(r.seconds for r in records), 3),
    }
    for name in records[0].losses:
        summary[f"loss_{name}"] = sum(r.losses.get(name, 0.0) for r in records) / len(records)
    print_result(summary, as_json=as_json, title=str(folder))


def _watch(folder: Path, every: float, as_json: bool) -> None:
    """Show how far the run is, again and again, until nothing is to be waited for."""
    if not 0.1 <= every <= 3600:
        raise ConfigError("--every must lie in 0.1..3600 seconds")
    from ..shards.monitor import RunMonitor
    from .monitor_view import MonitorView

    watch = RunMonitor(folder)
    try:
        with MonitorView(str(folder), as_json=as_json) as view:
            while True:
                look = watch.look()
                view.show(look)
                if look.state == "done":
                    return
                if look.state == "idle" and look.shards + len(look.failures) == look.shards_planned:
                    raise PartialError(
                        f"{len(look.failures)} shards were given up and nobody is at work: run the same di-invert again"
                    )
                time.sleep(every)
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is unwritten goes nowhere, in silence
        raise DreamError("nobody reads the output any more") from error


def _verify(folder: Path, as_json: bool, debug: bool) -> None:
    from ..shards.verification import verify

    problems = verify(folder)
    if problems:
        raise DreamError(f"{len(problems)} of the shards are not as they should be: {'; '.join(problems)}")
    print_result({"folder": str(folder), "problems": 0}, as_json=as_json, title="di-shards verify")


def _score(
    folder: Path,
    verifier: str | None,
    verifier_weights: str | None,
    real: str | None,
    teacher: str | None,
    weights: str | None,
    device: str,
    as_json: bool,
    debug: bool,
) -> None:
    from ..shards.quality import score_folder

    found = score_folder(
        folder,
        teacher=teacher,
        weights=weights,
        verifier=verifier,
        verifier_weights=verifier_weights,
        real=real,
        device=device,
    )
    print_result(found.flat(), as_json=as_json, title=str(folder))


def _gallery(
    folder: Path, out: Path | None, columns: int, side: int | None, classes: str | None, as_json: bool, debug: bool
) -> None:
    from ..shards.folder import ShardFolder
    from ..shards.gallery import write_gallery

    for name, value in (("columns", columns), ("side", side)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be 1 or more")
    chosen = coerce(Setting("classes", tuple[int, ...], None, "", ()), classes) if classes else None
    path = out or folder / "gallery.png"
    shown, images = write_gallery(ShardFolder.open(folder), path, columns=columns, classes=chosen, side=side)
    print_result({"gallery": str(path), "classes": shown, "images": images}, as_json=as_json, title="di-shards gallery")


command = click.Group(
    "di-shards",
    help="RunStatus at a synthetic data set (FOLDER is shards/ unless given).",
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
                    help="show how far the run is until all of it is there, on any machine; --json is an object a look",
                ),
                click.Option(
                    ["--every"],
                    type=float,
                    metavar="X",
                    default=2.0,
                    show_default=True,
                    help="seconds from look to look of --watch",
                ),
                json_option(),
                debug_option(),
            ],
            help="What is in it, or with --watch how far it is.",
        ),
        click.Command(
            "verify",
            callback=_verify,
            params=[_FOLDER, json_option(), debug_option()],
            help="Check every shard against the size, sha256 and count it was written with.",
        ),
        click.Command(
            "score",
            callback=_score,
            params=[
                _FOLDER,
                click.Option(["--verifier"], help="a network that had no part in the images, named as for --teacher"),
                click.Option(["--verifier-weights"], help="its weights, as for --weights"),
                click.Option(["--real"], help="real images to set beside them, named as for --eval"),
                click.Option(["--teacher"], help="where the teacher is, if not where the shards say"),
                click.Option(["--weights"], help="the teacher's weights, if not where the shards say"),
                click.Option(["--device"], default="auto", show_default=True, help="auto, cpu, cuda or cuda:N"),
                json_option(),
                debug_option(),
            ],
            help="Measure the images without a student, and write FOLDER/score.json.",
        ),
        click.Command(
            "gallery",
            callback=_gallery,
            params=[
                _FOLDER,
                click.Option(
                    ["--out"], type=click.Path(path_type=Path), help="PNG or .jpg to write [FOLDER/gallery.png]"
                ),
                click.Option(["--columns"], type=int, default=10, show_default=True, help="most images of a class"),
                click.Option(["--side"], type=int, metavar="N", help="pixels of an image's side [its own, 32 or more]"),
                click.Option(["--classes"], help="classes to show, separated by commas [all]"),
                json_option(),
                debug_option(),
            ],
            help="Write a contact sheet: the first images of each class, side by side.",
        ),
    ],
)


def main() -> None:
    sys.exit(run_command(command))
