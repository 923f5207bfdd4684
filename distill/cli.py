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
    examples=(
        ("a student of the teacher's architecture", "di-distill --shards shards/"),
        (
            "a smaller student, measured on real images",
            "di-distill --shards shards/ --student resnet18 --eval imagenet/val",
        ),
        ("one student on eight GPUs", "torchrun --nproc-per-node 8 $(which di-distill) --shards shards/"),
    ),
)


def main() -> None:
    sys.exit(run_command(command))
