"""Event files for TensorBoard: the figures of ``metrics.jsonl``, for people who have many runs to compare."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..shared.core.errors import ConfigError
from ..shared.models.epochs import Epoch


def require_tensorboard() -> None:
    """Check that TensorBoard is installed, without importing it.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs TensorBoard: pip install 'dreamdistill[tensorboard]'")


class EventFile:
    """A file with the figures of each epoch.

    Args:
        folder: gets the file. It may have files of earlier calls: what they say of later epochs than ``done`` is void.
        done: epochs that an earlier call has done.
    """

    def __init__(self, folder: Path, *, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=done + 1)

    def add(self, entry: Epoch) -> None:
        for name, value in entry.figures().items():
            self._writer.add_scalar(name, value, entry.epoch)

    def close(self) -> None:
        self._writer.close()
