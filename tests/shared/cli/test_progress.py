"""The plain lines of the progress bar, which are printed where stderr is not a terminal."""

from __future__ import annotations

import time

import pytest

from dreamdistill.shared.cli.progress import PLAIN_EVERY, ProgressBar


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its only element."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_progress_is_absolute_and_figures_keep_their_latest_value(
    seconds: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar("invert", total=40, unit="images") as bar:
        bar.update(3, loss=0.5, lr=0.1)
        seconds[0] = 2 * PLAIN_EVERY
        bar.update(10, loss=0.25)
        bar.update(11)
        seconds[0] = 4 * PLAIN_EVERY
        bar.update(8)  # a shard failed and starts again
    assert capsys.readouterr().err.splitlines() == [
        "invert: 10/40 images, 1 images/s, 30 s left loss 0.25 lr 0.1",
        "invert: 8/40 images, 0.4 images/s, 80 s left loss 0.25 lr 0.1",
    ]


def test_work_of_an_earlier_run_does_not_count_for_the_rate(
    seconds: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar("distill", total=100, unit="epochs", done=80) as bar:
        seconds[0] = 1.0
        bar.update(81, loss=2.0)
        seconds[0] = 10.0
        bar.update(90)
    assert capsys.readouterr().err.splitlines() == ["distill: 90/100 epochs, 1 epochs/s, 10 s left loss 2"]


def test_the_last_line_is_printed_at_the_end_and_only_if_it_is_new(
    seconds: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar("prune", total=2, unit="scorings") as bar:
        bar.log("a message")
        bar.update(2)
        assert capsys.readouterr().err == "a message\n"
        seconds[0] = PLAIN_EVERY
    assert capsys.readouterr().err == "prune: 2/2 scorings, 0.4 scorings/s, 0 s left\n"
    with ProgressBar("prune", total=2, unit="scorings"):
        pass
    assert capsys.readouterr().err == ""
