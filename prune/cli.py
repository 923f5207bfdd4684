"""``di-prune``: a smaller teacher."""

from __future__ import annotations

import sys

from ..shared.cli.commandline import run_command, stage_command
from .config import PruneConfig

command = stage_command(
    "di-prune",
    PruneConfig,
    package=__package__,
    help="Remove what the shards' teacher needs least, channels and blocks, and repair it by distillation.",
    examples=(
        ("the teacher without 30 % of its filters", "di-prune --ratio 0.3"),
        ("half of the multiply-adds, measured on real images", "di-prune --macs 0.5 --eval imagenet/val"),
        ("how good it will be, over the budget", "di-prune --macs 0.5 --curve"),
    ),
    other=("curve", "draw accuracy over the budget, by least squares alone, and stop"),
)


def main() -> None:
    sys.exit(run_command(command))
