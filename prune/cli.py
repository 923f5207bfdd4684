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
    examples=(
        ("the teacher without 30 % of its filters", "di-prune --ratio 0.3"),
        (
            "less repair, measured on real images",
            "di-prune --shards shards/ --ratio 0.5 --epochs 20 --eval imagenet/val",
        ),
        ("how many filters would go", "di-prune --shards shards/ --ratio 0.5 --dry-run"),
    ),
)


def main() -> None:
    sys.exit(run_command(command))
