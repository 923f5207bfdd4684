"""Progress on stderr: rich bars on a terminal, a plain line every few seconds where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

PLAIN_EVERY = 5.0  # seconds between lines where there is no terminal


class _Bar(RichProgress):
    """The bar, and under it the figures, which would squeeze it on a narrow terminal."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(f"  {task.fields['figures']}", style="dim")


class ProgressBar:
    """Work done of a known total, its rate, the time left, and the latest value of each named figure.

    A context manager. ``title`` is what is being done, ``unit`` what is counted (``images``, ``epochs``).
    """

    def __init__(self, title: str, *, total: int, unit: str) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0.0
        self.figures: dict[str, float] = {}
        self._started = self._printed = time.monotonic()
        self._unsaid = False  # whether there is anything to tell since the last plain line
        console = Console(stderr=True)
        self._rich: RichProgress | None = None
        if console.is_terminal:
            self._rich = _Bar(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._rich.add_task(title, total=total, rate="", figures="")

    def __enter__(self) -> ProgressBar:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(final=True)
        if self._rich is not None:
            self._rich.stop()

    def advance(self, amount: float, **figures: float) -> None:
        """Add to the work done, and update the figures given."""
        self.done += amount
        self._unsaid = True
        self.figures |= figures
        self._show(final=False)

    def log(self, message: str) -> None:
        """Print a line that stays, above the bar."""
        if self._rich is not None:
            self._rich.console.print(message, highlight=False)
        else:
            print(message, file=sys.stderr, flush=True)

    def _show(self, *, final: bool) -> None:
        now = time.monotonic()
        rate = self.done / max(now - self._started, 1e-9)
        figures = " ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        speed = f"{rate:.3g} {self.unit}/s"
        if self._rich is not None:
            self._rich.update(self._task, completed=int(self.done + 1e-6), rate=speed, figures=figures)
        elif (final and self._unsaid) or now - self._printed >= PLAIN_EVERY:
            self._printed = now
            self._unsaid = False
            left = max(0.0, self.total - self.done) / rate if rate > 0 else float("inf")
            eta = f"{left:.0f} s left" if left != float("inf") else "time left unknown"
            done = int(self.done + 1e-6)
            print(
                f"{self.title}: {done}/{self.total} {self.unit}, {speed}, {eta} {figures}".rstrip(),
                file=sys.stderr,
                flush=True,
            )
