"""``dreamdistill.load``: a classifier by name.

torch is imported when it is called, so that ``import dreamdistill`` and ``--help`` stay quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from .objects import Classifier


def load(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    network: nn.Module | None = None,
    code: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
) -> Classifier:
    """Load a classifier by name: a teacher, or what another command saved.

    Args:
        name: torchvision name, ``timm/NAME``, one of our own, a saved model's folder, or ``FILE.py:factory``.
        weights: weights file, torchvision weights entry, or ``"none"`` for random weights.
        num_classes: where the name leaves them open.
        mean, std: of the input, one number for each channel, range 0 to 1; by default what the weights say.
        image_size: side of the input in pixels; by default what the weights say.
        network: a module of the architecture, for a folder that was saved from a module in memory.
        code: your own Python files that a saved model may name, wherever it says that they lie.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: the name is unknown (the nearest one is named), the weights do not fit or cannot be fetched, or a
            saved model names a Python file that you have not named before.
        DreamError: a saved model is damaged.
    """
    from .arguments import paths
    from .objects import Classifier
    from .shared.core.device import pick_device
    from .shared.models.classifier import load_model

    loaded = load_model(
        str(name),
        weights=None if weights is None else str(weights),
        num_classes=num_classes,
        mean=mean,
        std=std,
        image_size=image_size,
        network=network,
        code=paths(code),
        device=pick_device(device),
    )
    return Classifier.of(loaded, folder=Path(name) if Path(name).is_dir() else None)
