"""Pixels to file bytes and back, always through Pillow, so that every stage sees the same pixels."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

JPEG_QUALITY = 95
PNG_UP_TO = 64  # pixels; larger images are stored as JPEG unless told


def default_format(image_size: int) -> str:
    """``png`` up to 64 px, where a JPEG's blocks would be a good part of the image, else ``jpg``."""
    return "png" if image_size <= PNG_UP_TO else "jpg"


def encode_image(pixels_CHW: Tensor, format: str) -> bytes:
    """Encode one uint8 image of 1 (grey) or 3 (RGB) channels as ``png`` or ``jpg`` (quality 95, no chroma loss)."""
    array = pixels_CHW.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    if format == "png":
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return buffer.getvalue()


def decode_image(data: bytes, channels: int) -> Tensor:
    """Decode to uint8 (C, H, W), converted to grey or RGB as ``channels`` says."""
    return to_tensor(Image.open(io.BytesIO(data)), channels)


def to_tensor(image: Image.Image, channels: int) -> Tensor:
    """A Pillow image as uint8 (C, H, W), converted to grey or RGB as ``channels`` says."""
    array = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
