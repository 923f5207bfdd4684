"""Encoding and decoding of images, always with Pillow, so that every stage gets the same pixels."""

from __future__ import annotations

import io
import struct

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..core.errors import one_line

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF")
MOST_PIXELS = 2**26  # of an image
MOST_STRETCHED = 100  # times as long as wide: the short side of an image to evaluate is made as long as the network's
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
    """Decode an image file to uint8 (C, H, W), converted to grey (1 channel) or RGB (3 channels).

    Raises:
        ValueError: it cannot be decoded (:func:`open_image`).
    """
    return to_tensor(open_image(data), channels)


def open_image(data: bytes) -> Image.Image:
    """Decode an image file of one of :data:`FORMATS`. Pillow would call other programs for some other formats.

    As in torchvision's ImageFolder, a camera's note that it was turned (EXIF) is not obeyed. Of 16 bits the upper 8 are
    kept, where Pillow would make nearly everything white.

    Raises:
        ValueError: it is none, has too many pixels, or pixels of 32 bits.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_size(image.width, image.height)
        image.load()
        image.info.pop("transparency", None)  # of a palette: Pillow warns that it drops it
        return eight_bits(image)
    except UnidentifiedImageError as error:  # it names an object in memory
        raise ValueError(f"it is damaged, or none of {', '.join(FORMATS)}") from error
    except (Image.DecompressionBombError, OSError, SyntaxError, struct.error, MemoryError, OverflowError) as error:
        raise ValueError(one_line(error)) from error


def check_size(width: int, height: int) -> None:
    """Refuse an image of too many pixels, or of none, or one that is too long for its width.

    Raises:
        ValueError: it is such an image.
    """
    if not 0 < width * height <= MOST_PIXELS or max(width, height) > MOST_STRETCHED * min(width, height):
        raise ValueError(f"it has {width}x{height} pixels")


def eight_bits(image: Image.Image) -> Image.Image:
    """An image with at most 8 bits a channel: of grey ones, the upper 8 of 16, as Pillow does for colours.

    Raises:
        ValueError: it has 32 bits, of which nothing says which number is white.
    """
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError("its pixels have 32 bits; save it with 8 bits a channel")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.array(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))


def to_tensor(image: Image.Image, channels: int) -> Tensor:
    """Convert a Pillow image to uint8 (C, H, W), in grey (1 channel) or RGB (3 channels)."""
    array = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
