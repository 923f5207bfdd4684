"""Signals that batch systems send, as exceptions, so that files are closed on the way out."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from types import FrameType

from .errors import StoppedError

# SIGTERM: scancel, kill, a node being drained. SIGUSR2: what SLURM is asked to send before the time limit.
_STOPS = tuple(number for name in ("SIGTERM", "SIGUSR2") if (number := getattr(signal, name, None)) is not None)

SAME_SIGNAL = 2.0  # seconds in which another is the same again: at a time limit, SLURM sends SIGTERM twice


def stop_on_signals() -> None:
    """Turn SIGTERM and SIGUSR2 into :class:`StoppedError` (exit code 75: work is left, run again)."""
    if threading.current_thread() is threading.main_thread():
        for number in _STOPS:
            signal.signal(number, _stop)


def ignore_stops() -> None:
    """From now on, for a command that has come to its end: a signal more would only spoil its exit code."""
    if threading.current_thread() is threading.main_thread():
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def grace(seconds: float) -> Iterator[Callable[[], bool]]:
    """Within this, a stop signal is only noted; :class:`StoppedError` comes ``seconds`` later, or with another signal.

    Yields:
        A function that tells whether a signal has come: begin nothing new, and come to an end.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield lambda: False
        return
    noted: list[int] = []
    since = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if seconds <= 0 or (noted and time.monotonic() - since > SAME_SIGNAL):
            _stop(number, frame)
        if not noted:
            noted.append(number)
            since = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def time_is_up(_number: int, frame: FrameType | None) -> None:
        _stop(noted[0], frame)

    before = {number: signal.signal(number, note) for number in _STOPS}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, time_is_up)
    try:
        yield lambda: bool(noted)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Puts the handlers back that a library replaces within this."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_STOPS)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C and stop signals come after this. Processes started in it inherit the mask and never see them.

    Such signals often go to every process of a terminal or of a batch job's step; the parent answers for all.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signals = {signal.SIGINT, *_STOPS}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        # Python's helper process starts with the first of ours, and on its way in it unblocks what is blocked here.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise StoppedError(f"stopped by {signal.Signals(number).name}; run the same command again to go on")
