"""The network as an exported program of PyTorch, a ``.pt2`` file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.errors import ConfigError, one_line
from .deployed import Deployed

METADATA = "metadata.json"  # name of the extra file inside


def dynamic_shapes(batch: int | None) -> Any:
    """What torch's exporters take: the number of images is open, unless it is given."""
    return None if batch else ({0: torch.export.Dim("batch")},)


def not_exported(what: str, error: Exception, batch: int | None) -> ConfigError:
    """The error for a network that torch's exporters do not take."""
    advice = "" if batch else "; --batch 1 may work"
    return ConfigError(f"torch cannot export {what}: {one_line(error)}{advice}")


def program_bytes(deployed: Deployed, *, batch: int | None) -> bytes:
    """The network as ``torch.export.load`` reads it.

    Args:
        batch: images in a forward pass; None leaves it open.

    Raises:
        ConfigError: torch cannot export the network.
    """
    example = (deployed.probes(batch or 2),)
    try:
        program = torch.export.export(deployed.network, example, dynamic_shapes=dynamic_shapes(batch))
    except Exception as error:  # the exporter and the user's own code raise what they like
        raise not_exported("this network", error, batch) from error
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA: json.dumps(deployed.metadata)})
    return file.getvalue()


def load_program(content: bytes) -> Callable[[Tensor], Tensor]:
    """What such a file computes: logits (N, K) of its input."""
    return torch.export.load(io.BytesIO(content)).module()
