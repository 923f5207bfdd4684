"""``di-invert``: images out of a teacher."""

from __future__ import annotations

import sys

from ..shared.cli.commandline import run_command, stage_command
from .config import InvertConfig

command = stage_command(
    "di-invert",
    InvertConfig,
    package=__package__,
    help="Make a synthetic data set from a trained classifier alone: images, and the classifier's logits for each.",
    examples=(
        ("images of torchvision's ResNet-50", "di-invert --teacher resnet50 --out shards/"),
        (
            "images of your own network, which takes 32 px",
            "di-invert --teacher net.py:make --weights net.pth --mean 0.49,0.48,0.45 --std 0.2,0.2,0.2 --image-size 32",
        ),
        ("whether your network is fit for it", "di-invert --teacher net.py:make --weights net.pth --check"),
    ),
    other=("check", "examine the teacher, measure it on --eval, and stop"),
)


def main() -> None:
    sys.exit(run_command(command))
