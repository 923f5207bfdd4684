"""Options that are no part of a stage's configuration, which commands share."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click

from ..core.config import GENERAL
from .help import GroupedOption, help_all_option


def common_options() -> list[click.Parameter]:
    """The options of every stage that are no part of its configuration."""
    return [
        GroupedOption(
            ["--config", "config_file"],
            type=click.Path(path_type=Path),
            group=GENERAL,
            help="YAML file of 'option: value'",
        ),
        dry_run_option(),
        json_option(),
        debug_option(),
        version_option(),
        help_all_option(),
    ]


def dry_run_option() -> click.Parameter:
    return GroupedOption(["--dry-run", "dry_run_only"], is_flag=True, group=GENERAL, help="print the plan and stop")


def other_option(name: str, help: str) -> click.Parameter:
    """A flag with which a stage does something else."""
    return GroupedOption([f"--{name}", "other_only"], is_flag=True, group=GENERAL, help=help)


def json_option() -> click.Parameter:
    return GroupedOption(["--json", "as_json"], is_flag=True, group=GENERAL, help="print one JSON object on stdout")


def debug_option() -> click.Parameter:
    return GroupedOption(["--debug"], is_flag=True, group=GENERAL, advanced=True, help="show the traceback of an error")


def version_option() -> click.Parameter:
    def show(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(f"dreamdistill {version('dreamdistill')}")
            ctx.exit()

    return GroupedOption(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        group=GENERAL,
        advanced=True,
        help="show the version and stop",
    )
