"""What the first bytes of an image file say, read before anything is decoded.

A decoder allocates what the header claims: a PNG of a hundred bytes may claim 30,000 x 30,000 pixels.
"""

from __future__ import annotations

import struct

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_COLOUR = {1: 0, 3: 2}  # channels -> colour type: grey, RGB
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, with Huffman coding
_JPEG_SCAN = 0xDA


def check_image_header(data: bytes, *, format: str, channels: int, size: int) -> None:
    """Refuse an image file that is not of the format and the shape that it must have.

    Args:
        format: ``png`` or ``jpg``.
        channels: 1 for grey, 3 for RGB, 8 bits each.
        size: side of the square image, in pixels.

    Raises:
        ValueError: it is another file; the message says what it is.
    """
    found = _png_shape(data) if format == "png" else _jpeg_shape(data)
    if found != (channels, size, size):
        what = f"{found[1]}x{found[2]} pixels of {found[0]} channels"
        raise ValueError(f"the image has {what}, not {size}x{size} of {channels}")


def _png_shape(data: bytes) -> tuple[int, int, int]:
    if len(data) < 33 or not data.startswith(_PNG):
        raise ValueError("the image is no PNG file")
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", data[16:29])
    channels = next((channels for channels, kind in _PNG_COLOUR.items() if kind == colour), 0)
    if depth != 8 or not channels or any(rest):
        raise ValueError("the image is a PNG file of another kind than grey or RGB with 8 bits, not interlaced")
    return channels, width, height


def _jpeg_shape(data: bytes) -> tuple[int, int, int]:
    position = 2
    while data.startswith(b"\xff\xd8") and position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _JPEG_FRAMES:
            depth, height, width, channels = struct.unpack(">BHHB", data[position + 4 : position + 10])
            if depth != 8:
                break
            return channels, width, height
        if marker == _JPEG_SCAN or length < 2:
            break
        position += 2 + length
    raise ValueError("the image is no JPEG file with 8 bits")
