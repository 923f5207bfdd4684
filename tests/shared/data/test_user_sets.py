"""Data sets of a user's own file: objects, functions and iterables, and images in every usual form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.labelled import open_labelled

Measure = Callable[..., float]
FILE = """
import numpy as np
import torch
from beside import SIZE
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

CHW = torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8)
for i, colour in enumerate((0, 1, 2, 0)):
    CHW[i, colour] = 255
LABELS = torch.tensor([0, 1, 2, 2])  # 3 of 4 are right
HWC = CHW.permute(0, 2, 3, 1).numpy()

class Photos(Dataset):
    def __init__(self, part="test"):
        self.part = part
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return Image.fromarray(HWC[i]), int(LABELS[i])

class Stream(IterableDataset):
    def __iter__(self):
        return ((image, np.array([label])) for image, label in zip(HWC, LABELS))
    def __len__(self):
        return 4

class Named(Photos):
    classes = ["red", "green", "blue"]

class Broken(Photos):
    def __getitem__(self, i):
        if i == 2:
            open("none.png")
        return super().__getitem__(i)

def generated():
    for image, label in zip(HWC, LABELS):
        yield image / 255.0, label

def texts(num_classes):
    assert num_classes == 3
    return [(image, ("red", "green", "blue")[label]) for image, label in zip(HWC, LABELS)]

def with_root(root):
    return Photos()

photos = Photos()
tensors = TensorDataset(CHW, LABELS)
floats = TensorDataset(CHW / 255, LABELS)
wrong_order = [(image.permute(1, 2, 0).numpy(), label) for image, label in zip(CHW, LABELS)]
pairs = [(HWC[i], LABELS[i].numpy()) for i in range(4)]
many = [pairs[i % 4] for i in range(40)]
once = iter(pairs)
normalised = TensorDataset((CHW / 255 - 0.5) / 0.5, LABELS)
batches = DataLoader(tensors, batch_size=2)
one_hot = TensorDataset(CHW, torch.eye(3)[LABELS])
out_of_range = TensorDataset(CHW, LABELS + 1)
alone = list(HWC)
half = [(HWC[0], 0.5)]
sixteen_bits = [(HWC[0].astype(np.uint16), 0)]
empty = []
four_classes = Named()
four_classes.classes = ["a", "b", "c", "d"]
number = 3
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "sets.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("SIZE = 20\n")
    return f"{tmp_path / 'sets.py'}:"


@pytest.mark.parametrize(
    "name", ["Photos", "photos", "Stream", "generated", "tensors", "floats", "wrong_order", "pairs", "many", "Named"]
)
def test_sets(measure: Measure, spec: str, name: str) -> None:
    found = open_labelled(spec + name, 3)
    assert len(list(found.read())) == len(list(found.read())) == (40 if name == "many" else 4)
    assert measure(spec + name) == 0.75


def test_names_of_classes(measure: Measure, spec: str) -> None:
    names = ("blue", "red", "green")
    assert measure(spec + "Named", ("Red", "GREEN", "blue")) == 0.75
    assert measure(spec + "Named", names) == 0.25  # the wrong label is right in this order
    assert measure(spec + "texts", ("red", "green", "blue")) == 0.75
    assert measure(spec + "texts", names) == 0.25


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("photo", "has no data set 'photo'; did you mean 'photos'"),
        ("number", r"must be, or return, a data set of \(image, label\), not int"),
        ("with_root", "needs the argument 'root'"),
        ("once", "can be read once only: name the function that makes it"),
        ("four_classes", "has 4 classes and the network 3"),
        ("Broken", r"failed at one of the items 0 to 7: FileNotFoundError.*\(line \d+ of sets.py\)"),
        (
            "normalised",
            "the image of .*:normalised: item 0 cannot be used: its values go from -1 to 1; .* not normalised",
        ),
        ("batches", r"the shape \(2, 3, 20, 20\), of a batch: give one image at a time"),
        ("one_hot", r"item 0 has the label Tensor of shape \(3,\); give a class number"),
        ("out_of_range", r"item 2 has label 3, and the teacher has 3 classes"),
        ("alone", r"item 0 is no pair of an image and its label, but ndarray of shape"),
        ("half", r"item 0 has the label float; give a class number"),
        ("sixteen_bits", "its values are uint16; give uint8"),
        ("texts", "item 0 has label 'red', and the teacher has no class names: give class numbers"),
        ("empty", "has no images"),
    ],
)
def test_sets_that_are_refused(measure: Measure, spec: str, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        measure(spec + name)


def test_files_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import nowhere_at_all\n")
    with pytest.raises(ConfigError, match=r"bad.py cannot be imported: ModuleNotFoundError"):
        open_labelled(f"{tmp_path / 'bad.py'}:x", 3)
    with pytest.raises(ConfigError, match=r"names no data set: write .*bad.py:NAME"):
        open_labelled(f"{tmp_path / 'bad.py'}", 3)
    with pytest.raises(ConfigError, match="there is no file"):
        open_labelled(f"{tmp_path / 'none.py'}:x", 3)


def test_a_file_is_not_run_for_its_place_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.py:b").mkdir()
    with pytest.raises(ConfigError, match="not an ImageFolder"):
        open_labelled(f"{tmp_path}/a.py:b", 3)
