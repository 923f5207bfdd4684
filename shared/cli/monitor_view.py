"""What ``di-shards show --watch`` shows: on stdout, since it is what the command was asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..shards.monitor import RunStatus
from ..shards.records import ShardFailure

LINE_EVERY = 60.0  # seconds between lines where there is nothing new to tell
FAILURES_SHOWN = 3


class MonitorView:
    """Looks at a run, shown on stdout: a view that changes in place on a terminal, elsewhere lines.

    A context manager. Lines are plain, and left out while nothing changes, or with ``as_json`` one object a look.
    """

    def __init__(self, folder: str, *, as_json: bool) -> None:
        self.folder = folder
        self.as_json = as_json
        self._said: object = None
        self._said_at = 0.0
        self._failed: set[int] = set()  # those that a line was said of
        console = Console()
        live = console.is_terminal and not console.is_dumb_terminal and not as_json
        self._live = Live(console=console, auto_refresh=False) if live else None

    def __enter__(self) -> MonitorView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, look: RunStatus) -> None:
        if self._live is not None:
            width, height = self._live.console.size
            self._live.update(Group(*_watch_view(self.folder, look, width=width, height=height)), refresh=True)
        elif self.as_json:
            print(json.dumps({"folder": self.folder, **look.as_mapping()}), flush=True)
        else:
            self._say(look)

    def _say(self, look: RunStatus) -> None:
        for number, failure in look.failures.items():
            if number not in self._failed:
                why = _reason(number, failure)
                print(f"{self.folder}: shard {number:06d} failed on {failure.worker}: {why}", flush=True)
        self._failed = set(look.failures)
        news = (look.state, look.shards, look.shards_planned, self._failed)
        now = time.monotonic()
        if news != self._said or now - self._said_at >= LINE_EVERY:
            self._said, self._said_at = news, now
            print(f"{self.folder}: {', '.join([*_counts(look), *_pace(look)])}", flush=True)


def _watch_view(folder: str, look: RunStatus, *, width: int, height: int) -> Iterable[RenderableType]:
    """The view of a look, no higher than the terminal, however many workers there are, if it has 20 lines or more."""
    yield Text.assemble((folder, "bold"), f"  {look.teacher}", no_wrap=True, overflow="ellipsis")
    share = look.images / max(look.images_planned, 1)
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    bar.add_row(ProgressBar(total=1, completed=share), f"{int(100 * share)} %")
    yield bar
    yield Text(", ".join(_counts(look)))
    yield Text(", ".join(_pace(look)), style={"done": "green", "working": ""}.get(look.state, "yellow"))
    failures = {number: _reason(number, look.failures[number]) for number in list(look.failures)[:FAILURES_SHOWN]}
    lines = 3 + sum(1 + len(reason) // (width - 12) for reason in failures.values()) if failures else 0
    if look.workers:
        yield Text()
        yield from _workers(look, width=width, rows=max(height - 8 - lines, 3))
    if failures:
        yield Text()
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("failed", no_wrap=True, style="red")
        table.add_column("why")
        for number, reason in failures.items():
            table.add_row(f"{number:06d}", Text(reason))
        yield table
        if hidden := len(look.failures) - len(failures):
            yield Text(f"and {hidden:,} more", style="dim")


def _workers(look: RunStatus, *, width: int, rows: int) -> Iterable[RenderableType]:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("worker", no_wrap=True)
    for name in ("shards", "images", "images/s", "last shard"):
        if name != "images" or width >= 70:
            table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("", no_wrap=True, min_width=len("at work"))
    for worker in look.workers[:rows]:
        silent = look.state != "done" and not worker.at_work
        table.add_row(
            _short(worker.worker),
            f"{worker.shards:,}",
            *([f"{worker.images:,}"] if width >= 70 else []),
            _rate(worker.images_per_second),
            f"{_span(worker.seconds_since_last)} ago",
            Text("at work", style="green") if worker.at_work else "silent" if silent else "",
            style="dim" if silent else "",
        )
    yield table
    if hidden := look.workers[rows:]:
        yield Text(f"and {len(hidden):,} more, {sum(w.at_work for w in hidden) or 'none'} of them at work", style="dim")


def _counts(look: RunStatus) -> list[str]:
    """How much is there, in words."""
    if look.state == "no_folder":
        return ["there is no such folder yet"]
    if look.state == "no_manifest":
        return ["there is no manifest.json yet"]
    counts = [
        f"{look.shards:,} of {look.shards_planned:,} shards",
        f"{look.images:,} of {look.images_planned:,} images",
    ]
    return [*counts, f"{len(look.failures):,} failed"] if look.failures else counts


def _pace(look: RunStatus) -> list[str]:
    """Who is at work, how fast and for how long, in words."""
    if look.state in ("no_folder", "no_manifest"):
        return ["waiting for di-invert"]
    if look.state == "done":
        return ["done"]
    if look.seconds_since_last is None:
        return ["no shard has been finished yet"]
    if look.seconds_left is None:
        return ["nobody at work", f"last shard {_span(look.seconds_since_last)} ago"]
    return [f"{_rate(look.images_per_second)} images/s", f"{_span(look.seconds_left)} left", f"{look.at_work} at work"]


def _short(worker: str) -> Text:
    """A worker's name without its machine's domain, cut in the middle where it is long still."""
    host, _, pid = worker.rpartition(":")
    name = f"{host.partition('.')[0]}:{pid}"
    return Text(name if len(name) <= 28 else f"{name[:13]}...{name[-12:]}")


def _reason(number: int, failure: ShardFailure) -> str:
    return failure.reason.removeprefix(f"shard {number:06d} ")


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _span(seconds: float) -> str:
    """A time in one unit, exact enough to wait by."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.1f} days"
