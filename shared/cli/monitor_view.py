"""The view of ``di-shards show --watch``. It goes to stdout, because it is the command's result."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar as RichBar
from rich.table import Table
from rich.text import Text

from ..shards.monitor import RunStatus
from ..shards.records import ShardFailure

LINE_EVERY = 60.0  # seconds between lines while nothing changes
FAILURES_SHOWN = 3


class MonitorView:
    """Shows the status of a run on stdout, again and again. A context manager.

    On a terminal, the view changes in place. Elsewhere each change is a plain line. With ``as_json``, each status is
    one JSON object on a line of its own.
    """

    def __init__(self, folder: str, *, as_json: bool) -> None:
        self.folder = folder
        self.as_json = as_json
        self._shown: object = None  # what the last plain line showed
        self._shown_at = 0.0
        self._failed: set[int] = set()  # failed shards that a line was printed for
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

    def show(self, status: RunStatus) -> None:
        """Show the current status."""
        if self._live is not None:
            width, height = self._live.console.size
            self._live.update(Group(*_watch_view(self.folder, status, width=width, height=height)), refresh=True)
        elif self.as_json:
            print(json.dumps({"folder": self.folder, **status.as_mapping()}), flush=True)
        else:
            self._print(status)

    def _print(self, status: RunStatus) -> None:
        for number, failure in status.failures.items():
            if number not in self._failed:
                reason = _reason(number, failure)
                print(f"{self.folder}: shard {number:06d} failed on {failure.worker}: {reason}", flush=True)
        self._failed = set(status.failures)
        current = (status.state, status.shards, status.shards_planned, self._failed)
        now = time.monotonic()
        if current != self._shown or now - self._shown_at >= LINE_EVERY:
            self._shown, self._shown_at = current, now
            print(f"{self.folder}: {', '.join([*_counts(status), *_pace(status)])}", flush=True)


def _watch_view(folder: str, status: RunStatus, *, width: int, height: int) -> Iterable[RenderableType]:
    """The lines of the view. On a terminal of 20 lines or more they fit, however many workers there are."""
    yield Text.assemble((folder, "bold"), f"  {status.teacher}", no_wrap=True, overflow="ellipsis")
    share = status.images / max(status.images_planned, 1)
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    bar.add_row(RichBar(total=1, completed=share), f"{int(100 * share)} %")
    yield bar
    yield Text(", ".join(_counts(status)))
    yield Text(", ".join(_pace(status)), style={"done": "green", "working": ""}.get(status.state, "yellow"))
    failures = {number: _reason(number, status.failures[number]) for number in list(status.failures)[:FAILURES_SHOWN]}
    lines = 3 + sum(1 + len(reason) // (width - 12) for reason in failures.values()) if failures else 0
    if status.workers:
        yield Text()
        yield from _workers(status, width=width, rows=max(height - 8 - lines, 3))
    if failures:
        yield Text()
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("failed", no_wrap=True, style="red")
        table.add_column("reason")
        for number, reason in failures.items():
            table.add_row(f"{number:06d}", Text(reason))
        yield table
        if hidden := len(status.failures) - len(failures):
            yield Text(f"and {hidden:,} more", style="dim")


def _workers(status: RunStatus, *, width: int, rows: int) -> Iterable[RenderableType]:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("worker", no_wrap=True)
    for name in ("shards", "images", "images/s", "last shard"):
        if name != "images" or width >= 70:
            table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("", no_wrap=True, min_width=len("running"))
    for worker in status.workers[:rows]:
        silent = status.state != "done" and not worker.at_work
        table.add_row(
            _short(worker.worker),
            f"{worker.shards:,}",
            *([f"{worker.images:,}"] if width >= 70 else []),
            _rate(worker.images_per_second),
            f"{_span(worker.seconds_since_last)} ago",
            Text("running", style="green") if worker.at_work else "silent" if silent else "",
            style="dim" if silent else "",
        )
    yield table
    if hidden := status.workers[rows:]:
        yield Text(f"and {len(hidden):,} more, {sum(w.at_work for w in hidden):,} of them running", style="dim")


def _counts(status: RunStatus) -> list[str]:
    """How much is done, in words."""
    if status.state == "no_folder":
        return ["the folder does not exist yet"]
    if status.state == "no_manifest":
        return ["the folder has no manifest.json yet"]
    counts = [
        f"{status.shards:,} of {status.shards_planned:,} shards",
        f"{status.images:,} of {status.images_planned:,} images",
    ]
    return [*counts, f"{len(status.failures):,} failed"] if status.failures else counts


def _pace(status: RunStatus) -> list[str]:
    """How many workers run, how fast and for how long, in words."""
    if status.state in ("no_folder", "no_manifest"):
        return ["waiting for di-invert"]
    if status.state == "done":
        return ["done"]
    if status.seconds_since_last is None:
        return ["no shard is complete yet"]
    if status.seconds_left is None:
        return ["no worker is running", f"last shard {_span(status.seconds_since_last)} ago"]
    return [
        f"{_rate(status.images_per_second)} images/s",
        f"{_span(status.seconds_left)} left",
        _running(status.at_work),
    ]


def _running(workers: int) -> str:
    return f"{workers:,} worker{'' if workers == 1 else 's'} running"


def _short(worker: str) -> Text:
    """A worker's name without the domain of its machine, and without its middle if it is still too long."""
    host, _, pid = worker.rpartition(":")
    name = f"{host.partition('.')[0]}:{pid}"
    return Text(name if len(name) <= 28 else f"{name[:13]}...{name[-12:]}")


def _reason(number: int, failure: ShardFailure) -> str:
    """Why a shard failed, without its number at the start."""
    return failure.reason.removeprefix(f"shard {number:06d} ")


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _span(seconds: float) -> str:
    """A duration in one suitable unit."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.1f} days"
