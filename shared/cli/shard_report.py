"""``di-shards report``: a page of one shard folder."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.errors import ConfigError
from ..core.files import check_is_file_place
from .commandline import print_result
from .common_options import debug_option, json_option


def _report(folder: Path, out: Path | None, as_json: bool, debug: bool) -> None:
    from ..report.shard_parts import KEPT, write_shard_report

    path = out or folder / KEPT
    check_is_file_place(path)
    try:
        classes, images = write_shard_report(folder, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    print_result({"report": str(path), "classes": classes, "images": images}, as_json=as_json, title="di-shards report")


def report_command(folder: click.Argument) -> click.Command:
    """The command.

    Args:
        folder: the argument that all commands of ``di-shards`` share.
    """
    return click.Command(
        "report",
        callback=_report,
        params=[
            folder,
            click.Option(["--out"], type=click.Path(path_type=Path), help="HTML to write  [FOLDER/report.html]"),
            json_option(),
            debug_option(),
        ],
        help="Make a page of it: images by class, agreement of each class, losses.",
    )
