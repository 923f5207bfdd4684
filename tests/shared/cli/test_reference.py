"""docs/cli.md and the help pages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamdistill.shared.cli.reference import commands, reference

PAGE = Path(__file__).parents[3] / "docs/cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference(), "run: python -m dreamdistill.shared.cli.reference > docs/cli.md"


def test_the_page_has_every_option_of_every_command() -> None:
    text = PAGE.read_text()
    for command in commands().values():
        for parameter in command.params:
            if parameter.opts[0].startswith("--"):
                assert parameter.opts[0] in text


@pytest.mark.parametrize("name", ["di-invert", "di-distill", "di-prune", "di-extend"])
def test_help_shows_few_options_and_three_examples_and_help_all_shows_every_one(di: Callable, name: str) -> None:
    few, every = (di(name, option).stdout for option in ("--help", "--help-all"))

    def options(text: str) -> list[str]:
        return re.findall(r"^  (?:-h, )?(--[\w-]+)", text.split("\nExamples:")[0], re.MULTILINE)

    assert len(options(few)) <= 16  # eleven, and five general ones
    assert len(options(few)) < len(options(every)) == len(set(options(every)))
    hidden = re.search(r"--help-all shows (\d+) more options", few)
    assert hidden is not None
    assert int(hidden[1]) == len(options(every)) - len(options(few))
    assert len(re.findall(r"^  # ", few, re.MULTILINE)) == 3
    headings = re.findall(r"^(\w[\w :]*):$", every, re.MULTILINE)
    assert len(headings) == len(set(headings)) >= 4


def test_di_prune_has_a_group_for_repair(di: Callable) -> None:
    text = di("di-prune", "--help-all").stdout
    repair = text.split("Repair by distillation:")[1].split("\nGeneral:")[0]
    assert {"--epochs", "--lr", "--feature-weight", "--mixup"} <= set(re.findall(r"--[\w-]+", repair))


def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys; from dreamdistill.invert.cli import command; command.get_help(command.make_context('x', [],"
        " resilient_parsing=True)); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
