"""int8 by ONNX Runtime's static quantisation, calibrated on synthetic images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.errors import ConfigError, one_line
from .onnx_file import INPUT, quiet, require_onnx


def int8_bytes(model: bytes, batches: Sequence[Tensor]) -> bytes:
    """A float ONNX file with weights in int8, each channel with a scale of its own, and activations in uint8.

    The ranges of the activations are those that the given images reach.

    Args:
        model: the float file.
        batches: its input, (N, C, H, W) each; of the fixed batch where the file has one.

    Raises:
        ConfigError: ONNX Runtime cannot quantise it.
    """
    require_onnx()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[Tensor] = iter(batches)

        def get_next(self) -> Any:
            x_NCHW = next(self._batches, None)
            return None if x_NCHW is None else {INPUT: x_NCHW.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, quantised = (Path(folder, f"{name}.onnx") for name in ("float", "prepared", "int8"))
        whole.write_bytes(model)
        try:
            with quiet():  # it advises to prepare the file, as is done here
                quant_pre_process(whole, prepared)
                quantize_static(
                    prepared,
                    quantised,
                    Reader(),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    reduce_range=not _adds_products_of_8_bits(),
                )
        except Exception as error:  # its errors have no common class
            raise ConfigError(f"ONNX Runtime cannot quantise this network: {one_line(error)}") from error
        return quantised.read_bytes()


def _adds_products_of_8_bits() -> bool:
    """Whether this processor sums up products of 8 bits without overflow; weights get 7 bits where it does not."""
    cpuinfo = Path("/proc/cpuinfo")
    return not cpuinfo.exists() or any(word in cpuinfo.read_text() for word in ("vnni", "asimd"))
