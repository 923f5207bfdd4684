"""The end of a stage: a table on a terminal, plain lines elsewhere, and what may be done next."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.report import DistillReport, outcome
from dreamdistill.shared.cli.commandline import print_outcome, print_result

REPORT = DistillReport(
    teacher_top1=0.98,
    student_top1=None,
    agreement=0.75,
    parameters=1234,
    teacher_parameters=4936,
    macs=5_000,
    teacher_macs=10_000,
    seconds=1.5,
    eval=None,
)


def test_it_says_where_the_result_lies_how_large_it_is_and_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    out = Path("runs") / ("very-" * 30 + "long")
    print_outcome(outcome(DistillConfig(out=out), REPORT), "di-distill")
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["di-distill"], ["result", str(out)]]
    text = "\n".join(" ".join(line) for line in lines)
    assert "1,234 (0.25 of the teacher's 4,936)" in text
    assert "5,000 (0.5 of the teacher's 10,000)" in text
    assert "student top-1" not in text  # not measured
    assert "--eval FOLDER" in text
    assert f"di-invert --teacher {out}" in text


def test_a_table_is_drawn_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"some_key": 0.5, "nothing": None}
    print_result(rows, as_json=False, title="title")
    assert capsys.readouterr().out == "title\nsome key  0.5\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_result(rows, as_json=False, title="title")
    drawn = capsys.readouterr().out
    assert "some key" in drawn
    assert "│" in drawn
