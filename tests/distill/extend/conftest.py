"""Two new classes for the digits teacher, which are easy to tell: bars and dots; and real images of all twelve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dreamdistill.pipelines.teachers import digits

SETS = '''
import numpy as np
from dreamdistill.shared.data.digit_set import load_digits


def bars(count):
    images = np.zeros((count, 8, 8), np.uint8)
    for i in range(count):
        images[i, :, i % 7] = 150 + 5 * (i % 20)
    return images


def dots(count):
    images = np.zeros((count, 8, 8), np.uint8)
    for i in range(count):
        images[i, i % 2 :: 2, (i // 2) % 2 :: 2] = 150 + 5 * (i % 20)
    return images


def everything():
    """Digits, bars and dots."""
    pixels, labels = load_digits(test=True)
    old = list(zip(pixels.numpy()[:100], labels.tolist()[:100]))
    return [*old, *((image, 10) for image in bars(20)), *((image, 11) for image in dots(20))]


def old_alone():
    return everything()[:100]


def few():
    return [*((image, 0) for image in dots(3)), *((image, 1) for image in bars(3))]


def one_of_each():
    return [(bars(1)[0], 0), (dots(1)[0], 1)]


def gap():
    return [(bars(1)[0], 0), (dots(1)[0], 2)]


def empty():
    return []


class Small:
    """Smaller than a digit, and in colour."""

    classes = ["red"]

    def __len__(self):
        return 4

    def __getitem__(self, number):
        return np.full((5, 5, 3), [200, 0, 0], np.uint8), 0
'''


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of data sets: ``everything`` to measure on, and some that cannot be used."""
    path = tmp_path_factory.mktemp("sets") / "sets.py"
    path.write_text(SETS)
    return path


@pytest.fixture(scope="session")
def new(tmp_path_factory: pytest.TempPathFactory, sets: Path) -> Path:
    """A folder of images of the new classes, 12 each."""
    folder = tmp_path_factory.mktemp("new")
    namespace: dict[str, object] = {}
    exec(sets.read_text(), namespace)
    for name in ("bars", "dots"):
        (folder / name).mkdir()
        make = namespace[name]
        assert callable(make)
        for number, image in enumerate(np.asarray(make(12))):
            Image.fromarray(image).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def five_digits(run_undisturbed: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good images of a teacher that knows the digits 0 to 4 alone: those of ``made_shards`` are noise to theirs."""
    folder = tmp_path_factory.mktemp("five")
    weights = folder / "teacher.safetensors"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "EPOCHS", 10)
        digits.save(weights, digits.train(0, first=0, last=4), seed=0, accuracy=0.0)
    torch.set_num_threads(threads)  # the training sets it
    network = ["--teacher", "digits_cnn", "--weights", weights, "--num-classes", 5]
    options = ["--images", 100, "--no-flip", "--jitter", 0, "--workers", 1]
    run_undisturbed("di-invert", *network, *options, "--out", folder / "shards")
    return folder / "shards"
