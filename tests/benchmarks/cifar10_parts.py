"""Parts of a tar of CIFAR-10 by class, as data sets for --new, --eval and teachers: CIFAR10=FOLDER with train.tar and
test.tar.

    export CIFAR10=path/to/folder
    python -m dreamdistill.pipelines.teachers.cifar10 --network cifar_resnet20 --num-classes 8 --epochs 30 \
        --train cifar10_parts.py:old_train --eval cifar10_parts.py:old_test --out cifar10-0-7.safetensors
    di-invert --teacher cifar_resnet20 --weights cifar10-0-7.safetensors --num-classes 8 --images 512 --out images
    di-extend --shards images --new cifar10_parts.py:new_train --eval $CIFAR10/test.tar --epochs 12
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from dreamdistill.shared.data.class_order import Classes
from dreamdistill.shared.data.image_files import read_tar

FIRST_NEW, CLASSES = 8, 10


def old_train() -> Iterator[tuple[Image.Image, int]]:
    return _part("train", 0, FIRST_NEW)


def old_test() -> Iterator[tuple[Image.Image, int]]:
    return _part("test", 0, FIRST_NEW)


def new_train() -> Iterator[tuple[Image.Image, int]]:
    """Its classes count from 0 on."""
    return _part("train", FIRST_NEW, CLASSES)


def _part(name: str, first: int, end: int) -> Iterator[tuple[Image.Image, int]]:
    for image, label in read_tar(Path(os.environ["CIFAR10"]) / f"{name}.tar", Classes(number=CLASSES)):
        if first <= label < end:
            yield image, label - first
