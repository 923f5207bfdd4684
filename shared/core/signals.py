"""Stop signals of batch systems, turned into exceptions, so that files are closed before the process exits."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from types import FrameType

from .errors import StoppedError

# SIGTERM comes from scancel, kill, or a node that is drained. SIGUSR2 comes from SLURM before the time limit, since the
# batch scripts ask for it.
_STOPS = tuple(number for name in ("SIGTERM", "SIGUSR2") if (number := getattr(signal, name, None)) is not None)

# Seconds in which a second signal counts as a repetition of the first: at a time limit, SLURM sends SIGTERM twice.
SAME_SIGNAL = 2.0


def stop_on_signals() -> None:
    """Raise :class:`StoppedError` on SIGTERM and SIGUSR2 (exit code 75: work is left, run the command again)."""
    if threading.current_thread() is threading.main_thread():
        for number in _STOPS:
            signal.signal(number, _stop)


def ignore_stops() -> None:
    """Ignore stop signals from now on: after a command has finished, one would only change its exit code."""
    if threading.current_thread() is threading.main_thread():
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def grace(seconds: float) -> Iterator[Callable[[], bool]]:
    """A context in which a stop signal leaves time to finish.

    :class:`StoppedError` is raised ``seconds`` after the signal, or at a second signal.

    Yields:
        A function that returns whether a signal has arrived. If so, start nothing new and finish the current work.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield lambda: False
        return
    received: list[int] = []
    since = 0.0

    def on_stop(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if seconds <= 0 or (received and time.monotonic() - since > SAME_SIGNAL):
            _stop(number, frame)
        if not received:
            received.append(number)
            since = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def on_alarm(_number: int, frame: FrameType | None) -> None:
        _stop(received[0], frame)

    before = {number: signal.signal(number, on_stop) for number in _STOPS}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, on_alarm)
    try:
        yield lambda: bool(received)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """A context that restores the signal handlers which a library replaces inside it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_STOPS)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """A context that delays Ctrl-C and stop signals to its end. Processes started inside never receive them.

    They inherit the signal mask. Such signals often go to every process of a terminal or of a batch job's step; the
    parent process handles them for all.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signals = {signal.SIGINT, *_STOPS}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        # multiprocessing starts its resource tracker with the first child process, and doing so unblocks the signals.
        # So start it now, and block them again.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise StoppedError(f"stopped by {signal.Signals(number).name}; run the same command again to go on")
