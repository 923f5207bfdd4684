"""Progress on stderr: a bar on a terminal, elsewhere a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from ..core.errors import printable

PLAIN_EVERY = 5.0  # seconds between plain lines


class _Bar(RichProgress):
    """The bar with the figures below it. Beside it, they would leave no room for the bar on a narrow terminal."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(f"  {task.fields['figures']}", style="dim")


class ProgressBar:
    """Shows how much of a known total is done, the rate, the time left, and the latest value of each named figure.

    A context manager.

    Args:
        title: name of the work.
        total: amount of work.
        unit: what is counted, in the plural: ``images``, ``epochs``.
        done: amount that an earlier run has done already. It does not count for the rate.
        larger: a larger unit that is shown too, and how much of the work it is: ``("epochs", 40)`` for 40 steps each.
    """

    def __init__(
        self, title: str, *, total: int, unit: str, done: float = 0.0, larger: tuple[str, int] | None = None
    ) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.larger = larger
        self.done = self._done_before = done
        self.figures: dict[str, float] = {}
        self._started = self._printed = time.monotonic()
        self._has_news = False  # whether anything changed since the last plain line
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
            self._task = self._rich.add_task(title, total=total, completed=int(done), rate="", figures="")

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

    def update(self, done: float, **figures: float) -> None:
        """Set the amount of work that is done, from 0 to the total, and the given figures."""
        self.done = done
        self.figures |= figures
        self._has_news = True
        self._show(final=False)

    def log(self, message: str) -> None:
        """Print a line above the bar. It stays on the screen."""
        if self._rich is not None:
            self._rich.console.print(Text(printable(message)))
        else:
            print(printable(message), file=sys.stderr, flush=True)

    def _show(self, *, final: bool) -> None:
        now = time.monotonic()
        rate = max(0.0, self.done - self._done_before) / max(now - self._started, 1e-9)
        figures = " ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        speed = f"{rate:.3g} {self.unit}/s"
        done = int(self.done + 1e-6)
        larger = ""
        if self.larger is not None:
            name, size = self.larger
            larger = f"{done // size}/{self.total // size} {name}, "
        if self._rich is not None:
            self._rich.update(self._task, completed=done, rate=larger + speed, figures=figures)
        elif (final and self._has_news) or now - self._printed >= PLAIN_EVERY:
            self._printed = now
            self._has_news = False
            left = max(0.0, self.total - self.done) / rate if rate > 0 else float("inf")
            eta = f"{left:.0f} s left" if left != float("inf") else "time left unknown"
            print(
                f"{self.title}: {done}/{self.total} {self.unit}, {larger}{speed}, {eta} {figures}".rstrip(),
                file=sys.stderr,
                flush=True,
            )
