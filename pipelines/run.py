"""``di-run``: a pipeline file, one's own network made smaller, or a new file to edit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ..shared.cli.commandline import context_settings, run_command
from ..shared.cli.common_options import debug_option, dry_run_option, json_option, version_option
from ..shared.cli.help import CommandWithParts, GroupedCommand
from ..shared.cli.stdout import stdout_to_stderr
from ..shared.core.errors import printable
from .compress import cli as compress
from .new import write_new
from .plan import load_pipeline
from .report import print_report
from .running import run


def _main(pipeline: str, as_json: bool, dry_run_only: bool, debug: bool, **changes: Any) -> None:
    plan = load_pipeline(pipeline, {key: value for key, value in changes.items() if value is not None})
    if dry_run_only:
        from .checking import check_evaluations  # imported here, since it imports torch

        with stdout_to_stderr():
            check_evaluations(plan)
        steps = {stage.name: {"stage": stage.kind, "out": str(stage.config.out)} for stage in plan.stages}
        lines = (printable(f"{name}: {step['stage']} -> {step['out']}") for name, step in steps.items())
        click.echo(json.dumps(steps) if as_json else "\n".join(lines))
        return
    with stdout_to_stderr():
        report = run(plan)
    if as_json:
        click.echo(json.dumps(report.as_mapping()))
    else:
        print_report(report, pipeline, plan.out)


def _new(file: Path, debug: bool) -> None:
    write_new(file)
    click.echo(printable(f"{file} is written: edit it, then di-run {file}"))


_new_command = GroupedCommand(
    "new",
    help="Write a pipeline file with comments, to edit.",
    callback=_new,
    params=[click.Argument(["file"], type=click.Path(path_type=Path)), debug_option()],
    context_settings=context_settings("di-run new"),
)

command = CommandWithParts(
    "di-run",
    parts={"compress": compress.command, "new": _new_command},
    help="Run the stages of a pipeline file, or of a shipped one (quickstart, cifar10, cifar10-adi, imagenet, extend),"
    " skipping what is done.",
    examples=(
        ("the whole way on two cores, in minutes", "di-run quickstart"),
        ("your own network, made smaller", "di-run compress --teacher net.py:make --weights net.pth --target macs=0.5"),
        ("a file to edit, and its run", "di-run new mine.yaml && di-run mine.yaml"),
    ),
    callback=_main,
    context_settings=context_settings("di-run"),
    params=[
        click.Argument(["pipeline"]),
        click.Option(["--out"], type=click.Path(path_type=Path), help="folder for all results, in place of the file's"),
        click.Option(["--seed"], type=int, help="seed of every stage, in place of the file's"),
        click.Option(["--device"], help="auto, cpu, cuda or cuda:N"),
        click.Option(["--overwrite/--no-overwrite"], default=None, help="run every stage again"),
        dry_run_option(),
        json_option(),
        debug_option(),
        version_option(),
    ],
)


def main() -> None:
    sys.exit(run_command(command))
