"""ONNX by torch's own exporter, and its run in ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..core.errors import ConfigError, one_line
from .deployed import Deployed
from .program import dynamic_shapes, not_exported

INPUT, OUTPUT = "images", "logits"


def require_onnx() -> ModuleType:
    """The module onnxruntime.

    Raises:
        ConfigError: one of the packages that an export needs is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter needs both
    except ImportError as error:
        raise ConfigError(
            "ONNX files need onnx, onnxscript and onnxruntime: pip install 'dreamdistill[export]'"
        ) from error
    return onnxruntime


def onnx_bytes(deployed: Deployed, *, batch: int | None) -> bytes:
    """The network as an ONNX file, with the metadata.

    Args:
        batch: images in a forward pass; None leaves it open.

    Raises:
        ConfigError: torch cannot export the network.
    """
    require_onnx()
    try:
        with quiet():
            program: Any = torch.onnx.export(
                deployed.network,
                (deployed.probes(batch or 2),),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=dynamic_shapes(batch),
                dynamo=True,
                verbose=False,
            )
            model = program.model_proto
    except Exception as error:  # the exporter and the user's own code raise what they like
        raise not_exported("this network to ONNX", error, batch) from error
    for key, text in deployed.metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text
    return model.SerializeToString()


class OnnxSession:
    """An ONNX file in ONNX Runtime, on the CPU.

    Args:
        model: the file, or its path.
        threads: of the CPU.
        batch: images in a forward pass, where the file has a fixed number.

    Raises:
        ConfigError: ONNX Runtime does not take the file.
    """

    def __init__(self, model: bytes | str, *, batch: int | None = None, threads: int = 1) -> None:
        self._batch = batch
        onnxruntime = require_onnx()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors alone
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            raise ConfigError(f"ONNX Runtime does not take the file: {one_line(error)}") from error

    def __call__(self, x_NCHW: Tensor) -> Tensor:
        """Logits (N, K) of any number of the file's inputs (N, C, H, W)."""
        parts = [full_batch(part, self._batch) for part in x_NCHW.split(self._batch or len(x_NCHW))]
        logits = [torch.from_numpy(self._session.run([OUTPUT], {INPUT: part.numpy()})[0]) for part in parts]
        return torch.cat(logits)[: len(x_NCHW)]


def full_batch(x_NCHW: Tensor, batch: int | None) -> Tensor:
    """As many images as a file of a fixed batch takes: the last one again and again, where they are fewer."""
    missing = 0 if batch is None else batch - len(x_NCHW)
    return torch.cat([x_NCHW, x_NCHW[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else x_NCHW


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of exporters on their own work."""
    before = logging.root.manager.disable
    try:
        logging.disable(logging.WARNING)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
