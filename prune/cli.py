"""``di-prune``: a smaller teacher."""

from __future__ import annotations

import sys

from ..shared.cli.commandline import run_command, stage_command
from .config import PruneConfig

command = stage_command(
    "di-prune",
    PruneConfig,
    package=__package__,
    help="Remove the least important channels of the shards' teacher, and repair it by distillation.",
)


def main() -> None:
    sys.exit(run_command(command))
