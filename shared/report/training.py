"""Curves of trainings: loss, top-1 and agreement over epochs, of several runs in one picture each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..models.epochs import Epoch
from .charts import LineChart, Points
from .parts import Html, chart, side_by_side
from .svg import PAGE

MOST_POINTS = 400  # of a curve; more are no finer on a page


def training_charts(
    runs: Mapping[str, Sequence[Epoch]], *, colours: Mapping[str, int] | None = None, teacher: float | None = None
) -> Html | None:
    """Charts of the trainings; None where none has an epoch.

    Args:
        colours: name of a run -> number of its colour.
        teacher: its top-1, to compare with.
    """
    numbers = colours or {name: number for number, name in enumerate(runs)}
    lines = {} if teacher is None else {"teacher": teacher}
    drawn = [
        _chart(runs, numbers, "loss", lambda epoch: epoch.loss if epoch.loss > 0 else None, log=True),
        _chart(runs, numbers, "top-1", lambda epoch: epoch.student_top1, lines=lines),
        _chart(runs, numbers, "agreement with the teacher", lambda epoch: epoch.agreement),
    ]
    found = [each for each in drawn if each is not None]
    return side_by_side(found) if found else None


def _chart(
    runs: Mapping[str, Sequence[Epoch]],
    colours: Mapping[str, int],
    what: str,
    value_of: Callable[[Epoch], float | None],
    *,
    log: bool = False,
    lines: Mapping[str, float] | None = None,
) -> Html | None:
    series = {name: _points(epochs, value_of) for name, epochs in runs.items()}
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    drawn = LineChart(
        title="training",
        x_title="epochs",
        y_title=what,
        series=series,
        lines=lines or {},
        percent=(False, not log),
        log=log,
        colours=colours,
    )
    legend = {name: colours[name] for name in series}
    return chart(drawn.small(PAGE), title=f"{what}, logarithmic" if log else what, legend=legend)


def _points(epochs: Sequence[Epoch], value_of: Callable[[Epoch], float | None]) -> Points:
    found = [(float(epoch.epoch), value) for epoch in epochs if (value := value_of(epoch)) is not None]
    every = -(-len(found) // MOST_POINTS)
    return [*found[:: max(every, 1)][:-1], found[-1]] if found else []
