"""Signals that batch systems send, as exceptions, so that files are closed on the way out."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from .errors import StoppedError


def stop_on_signals() -> None:
    """Turn SIGTERM into :class:`StoppedError` (exit code 75: work is left, run again)."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise StoppedError(f"stopped by {signal.Signals(number).name}; run the same command again to go on")

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
