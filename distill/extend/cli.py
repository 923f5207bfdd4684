"""``di-extend``: new classes for a classifier whose old images are gone."""

from __future__ import annotations

import sys

from ...shared.cli.commandline import run_command, stage_command
from .config import ExtendConfig

command = stage_command(
    "di-extend",
    ExtendConfig,
    package=__package__,
    help="Teach the shards' teacher new classes, from images of those alone; the shards keep the old ones in mind.",
    examples=(
        ("classes from a folder for each of them", "di-extend --shards shards/ --new path/to/new_classes"),
        (
            "measured on real images of all classes, the old ones first",
            "di-extend --shards shards/ --new path/to/new_classes --eval path/to/val",
        ),
        ("more classes than before: more of each batch is new", "di-extend --new path/to/new_classes --share 0.7"),
    ),
)


def main() -> None:
    sys.exit(run_command(command))
