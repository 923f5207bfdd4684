"""The images of the CIFAR-10 case: decoded by several processes from the tars that ``fetch.py`` copied, or noise."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamdistill.shared.core.device import cpu_count
from dreamdistill.shared.data.labelled import open_labelled

CLASSES, MOST_PROCESSES = 10, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Labelled images: uint8 (N, 3, 32, 32) and int64 (N,)."""

    pixels_NCHW: Tensor
    labels_N: Tensor

    def to(self, device: torch.device) -> Images:
        return Images(pixels_NCHW=self.pixels_NCHW.to(device), labels_N=self.labels_N.to(device))


def find_tar(folder: Path | None, part: str) -> Path | None:
    """``train.tar`` or ``test.tar`` in the folder, compressed or not."""
    found = sorted(folder.glob(f"{part}.tar*")) if folder is not None else []
    return found[0] if found else None


def decode(tar: Path) -> Images:
    """All images of a tar. Call it before anything uses the GPU or starts threads, since it forks.

    Each process reads the whole tar, which takes little time, and decodes its share.
    """
    count = min(cpu_count(), MOST_PROCESSES)
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork")) as pool:
        shares = list(pool.map(_share, [str(tar)] * count, range(count), [count] * count))
    pixels_NHWC = np.concatenate([pixels for pixels, _ in shares])
    labels_N = np.concatenate([labels for _, labels in shares])
    return Images(
        pixels_NCHW=torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).contiguous(), labels_N=torch.from_numpy(labels_N)
    )


def noise(count: int, seed: int) -> Images:
    """Noise with a colour for each class, for a rehearsal without tars."""
    draw = torch.Generator().manual_seed(seed)
    labels_N = torch.arange(count) % CLASSES
    colours_KC = torch.randint(0, 192, (CLASSES, 3), generator=torch.Generator().manual_seed(0))
    pixels_NCHW = colours_KC[labels_N][:, :, None, None] + torch.randint(0, 64, (count, 3, 32, 32), generator=draw)
    return Images(pixels_NCHW=pixels_NCHW.byte(), labels_N=labels_N)


def _share(tar: str, first: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Every ``step``-th image from ``first`` on: uint8 (N, H, W, 3), and labels int64 (N,). It uses numpy alone."""
    samples = islice(open_labelled(tar, CLASSES).read(), first, None, step)
    pixels, labels = zip(*((np.array(image.convert("RGB")), label) for image, label in samples), strict=True)
    return np.stack(pixels), np.array(labels, dtype=np.int64)
