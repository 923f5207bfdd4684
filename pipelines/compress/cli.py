"""``di-run compress``: one's own network, made smaller."""

from __future__ import annotations

from ...shared.cli.commandline import stage_command
from .config import CompressConfig

command = stage_command(
    "di-run compress",
    CompressConfig,
    package=__package__,
    help="Make your own network smaller: images, pruning, repair, ONNX files in float and int8, and a report. Images"
    " and steps are chosen by --minutes.",
    examples=(
        (
            "your own network of 32 px to half of its time",
            "di-run compress --teacher net.py:make --weights net.pth --mean 0.5 --std 0.25 --image-size 32"
            " --target latency=0.5",
        ),
        ("what it would choose", "di-run compress --teacher runs/net --minutes 10 --dry-run"),
    ),
)
