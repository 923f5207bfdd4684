"""Encoding and decoding of images, always with Pillow, so that every stage gets the same pixels."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

JPEG_QUALITY = 95
PNG_UP_TO = 64  # pixels; by default, larger images are stored as JPEG


def default_format(image_size: int) -> str:
    """``png`` up to 64 px, else ``jpg``: the blocks of a JPEG are large in comparison with a small image."""
    return "png" if image_size <= PNG_UP_TO else "jpg"


def encode_image(pixels_CHW: Tensor, format: str) -> bytes:
    """Encode one uint8 image of 1 (grey) or 3 (RGB) channels.

    Args:
        format: ``png``, or ``jpg`` for JPEG of quality 95 without chroma subsampling.
    """
    array = pixels_CHW.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    if format == "png":
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return buffer.getvalue()


def decode_image(data: bytes, channels: int) -> Tensor:
    """Decode an image file to uint8 (C, H, W), converted to grey (1 channel) or RGB (3 channels)."""
    return to_tensor(Image.open(io.BytesIO(data)), channels)


def to_tensor(image: Image.Image, channels: int) -> Tensor:
    """Convert a Pillow image to uint8 (C, H, W), in grey (1 channel) or RGB (3 channels)."""
    array = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
