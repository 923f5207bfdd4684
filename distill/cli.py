"""``di-distill``: a student out of shards."""

from __future__ import annotations

import sys

from ..shared.cli.commandline import run_command, stage_command
from .config import DistillConfig

command = stage_command(
    "di-distill",
    DistillConfig,
    package=__package__,
    help="Train a student on the shards that di-invert wrote.",
)


def main() -> None:
    sys.exit(run_command(command))
