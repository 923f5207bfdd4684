"""The command that a configuration stands for gives that configuration back, and tells nothing that it need not."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from dreamdistill.distill.config import DistillConfig
from dreamdistill.invert.config import InvertConfig
from dreamdistill.prune.config import PruneConfig
from dreamdistill.shared.core.config import StageConfig, from_mapping
from dreamdistill.shared.core.files import cut_path
from dreamdistill.shared.report.commands import command_line

GIVEN: list[tuple[str, type[StageConfig], dict[str, Any]]] = [
    ("invert", InvertConfig, {"teacher": "a b.py:make", "out": "o", "images": 40, "clip": False, "betas": "0.5,0.9"}),
    ("invert", InvertConfig, {"teacher": "t", "out": "o", "classes": "1,2", "lr": 0.25, "steps": 0}),
    (
        "distill",
        DistillConfig,
        {"shards": "s", "out": "$(o)", "flip": False, "mixup": 0, "inherit": "off"},
    ),
    ("distill", DistillConfig, {"shards": "s", "out": "o"}),
    ("prune", PruneConfig, {"shards": "s", "out": "o", "macs": 0.5, "keep": "a.*,b", "seed": 3}),
]


@pytest.mark.parametrize(("stage", "config_class", "values"), GIVEN)
def test_the_command_gives_the_configuration_back(
    stage: str, config_class: type[StageConfig], values: dict[str, Any]
) -> None:
    config = from_mapping(config_class, values)
    program, *words = shlex.split(command_line(f"di-{stage}", config))
    command: click.Command = importlib.import_module(f"dreamdistill.{stage}.cli").command
    read = command.make_context(program, list(words)).params
    given = {key: value for key, value in read.items() if value is not None and key in config_names(config_class)}
    assert from_mapping(config_class, given) == config


def config_names(config_class: type[StageConfig]) -> set[str]:
    from dreamdistill.shared.core.config import settings_of

    return set(settings_of(config_class))


def test_options_at_their_defaults_and_overwrite_are_not_named() -> None:
    config = from_mapping(DistillConfig, {"shards": "s", "out": "o", "seed": 0, "overwrite": True})
    assert sorted(command_line("di-distill", config).split()) == ["--out", "--shards", "di-distill", "o", "s"]


def test_others_are_not_told_where_things_lie() -> None:
    values = {"shards": str(Path("/home/me/s")), "out": "o", "student": "/home/me/net.py:make", "eval": "val"}
    line = command_line("di-distill", from_mapping(DistillConfig, values), for_others=True)
    assert "home" not in line
    assert "--student net.py:make" in line
    assert cut_path("timm/resnet18") == "timm/resnet18"
