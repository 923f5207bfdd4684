"""The images of table_extend.py by class, and networks that learned a part of the classes.

New classes come after the old ones: those of the second set, if there is one, have the numbers after the first set's.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from dreamdistill.pipelines.teachers import digits
from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.labelled import labelled_batches, open_labelled
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.models.preprocessing import Preprocessing

NETWORK, SIDE = "cifar_resnet20", 32
FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
FASHION_FILES = {"train": "train", "test": "t10k"}

Arrays: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]  # images (N, H, W, C), labels (N,)


class Data(Protocol):
    """Images by class.

    Attributes:
        network: the architecture that learns them.
        classes: of all tasks.
        seeded: whether each seed has networks of its own: not where they take long to train.
        inverting: what its images ask of the recipe of di-invert.
        extending: what they ask of the settings of di-extend.
    """

    @property
    def name(self) -> str: ...
    @property
    def network(self) -> str: ...
    @property
    def classes(self) -> int: ...
    @property
    def seeded(self) -> bool: ...
    @property
    def inverting(self) -> Mapping[str, Any]: ...
    @property
    def extending(self) -> Mapping[str, Any]: ...

    def images(self, part: str, first: int, last: int) -> str:
        """The images of these classes, as for ``--eval``; labels count from 0.

        Args:
            part: train or test.
        """
        ...

    def train(self, path: Path, first: int, last: int, seed: int) -> None:
        """Write the weights of a network that learned these classes alone."""
        ...


@dataclass(frozen=True, slots=True)
class Digits:
    """scikit-learn's digits."""

    name: str = "digits"
    network: str = "digits_cnn"
    classes: int = 10
    seeded: bool = True
    inverting: Mapping[str, Any] = field(default_factory=lambda: {"flip": False, "jitter": 0})
    extending: Mapping[str, Any] = field(default_factory=lambda: {"flip": False})

    def images(self, part: str, first: int, last: int) -> str:
        return f"digits:{'train:' if part == 'train' else ''}{first}-{last}"

    def train(self, path: Path, first: int, last: int, seed: int) -> None:
        network = digits.train(seed, first=first, last=last)
        images = open_labelled(self.images("test", first, last), last - first + 1)
        digits.save(path, network, seed=seed, accuracy=top1(network, images, digits.preprocessing()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels32:
    """One or two sets of images of 32 x 32 pixels.

    Attributes:
        sets: each gives the images of a part, train or test, of ten classes.
        folder: gets an ``.npz`` file for each part and range of classes.
        epochs: of a network.
    """

    name: str
    sets: Sequence[Callable[[str], Arrays]]
    folder: Path
    epochs: int
    network: str = NETWORK
    seeded: bool = False
    inverting: Mapping[str, Any] = field(default_factory=dict)
    extending: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        return 10 * len(self.sets)

    def images(self, part: str, first: int, last: int) -> str:
        path = self.folder / f"{self.name}-{part}-{first}-{last}.npz"
        if not path.exists():
            images_NHWC, labels_N = zip(*(read(part) for read in self.sets), strict=True)
            whole_NHWC = np.concatenate(images_NHWC)
            whole_N = np.concatenate([labels + 10 * number for number, labels in enumerate(labels_N)])
            chosen_N = (whole_N >= first) & (whole_N <= last)
            self.folder.mkdir(parents=True, exist_ok=True)
            np.savez(path, images=whole_NHWC[chosen_N], labels=whole_N[chosen_N] - first)
        return str(path)

    def train(self, path: Path, first: int, last: int, seed: int) -> None:
        command = [
            *(sys.executable, "-m", "dreamdistill.pipelines.teachers.cifar10", "--network", NETWORK),
            *("--num-classes", str(last - first + 1), "--epochs", str(self.epochs), "--seed", str(seed), "--compile"),
            *("--train", self.images("train", first, last), "--eval", self.images("test", first, last)),
            *("--out", str(path)),
        ]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(json.loads(done.stdout), file=sys.stderr)


def read_cifar10(folder: Path, part: str) -> Arrays:
    """CIFAR-10 of ``folder/train.tar`` and ``test.tar``."""
    known = NETWORKS[NETWORK]
    taken = Preprocessing(mean=known.mean, std=known.std, image_size=SIDE)
    batches = list(labelled_batches(open_labelled(str(folder / f"{part}.tar"), 10), taken, 1024))
    images_NCHW = np.concatenate([pixels.numpy() for pixels, _ in batches])
    return images_NCHW.transpose(0, 2, 3, 1), np.concatenate([labels.numpy() for _, labels in batches])


def read_fashion(part: str) -> Arrays:
    """Fashion-MNIST in three equal channels, with a black frame of two pixels."""
    prefix = FASHION / FASHION_FILES[part]
    with gzip.open(f"{prefix}-images-idx3-ubyte.gz") as file:
        images_NHW = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
    with gzip.open(f"{prefix}-labels-idx1-ubyte.gz") as file:
        labels_N = np.frombuffer(file.read()[8:], np.uint8).astype(np.int64)
    padded_NHW = np.pad(images_NHW, ((0, 0), (2, 2), (2, 2)))
    return np.repeat(padded_NHW[..., None], 3, axis=3), labels_N
