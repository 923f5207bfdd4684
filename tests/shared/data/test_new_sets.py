"""Sets of classes that no network knows: they say how many there are, and what they are called."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.class_order import names_by_number, same_names
from dreamdistill.shared.data.digit_set import is_digits
from dreamdistill.shared.data.labelled import open_labelled

IMAGES = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)


def labels(spec: object) -> list[int]:
    return [label for _, label in open_labelled(str(spec), None).read()]


def test_a_folder_has_the_classes_of_its_folders(tmp_path: Path) -> None:
    for name in ("wolf", "lynx", "bear"):
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGES[0]).save(tmp_path / name / "0.png")
    found = open_labelled(str(tmp_path), None)
    assert (found.classes, found.class_names) == (3, ("bear", "lynx", "wolf"))
    assert [label for _, label in found.read()] == [0, 1, 2]


def test_a_list_has_the_classes_that_it_names(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(IMAGES[number]).save(tmp_path / f"{number}.png")
    path = tmp_path / "x.csv"
    path.write_text("path,label\n0.png,wolf\n1.png,lynx\n2.png,wolf\n")
    found = open_labelled(str(path), None)
    assert found.class_names == ("lynx", "wolf")
    assert [label for _, label in found.read()] == [1, 0, 1]
    path.write_text("path,label\n0.png,2\n1.png,0\n2.png,1\n")
    assert open_labelled(str(path), None).class_names == ()
    assert labels(path) == [2, 0, 1]


def test_arrays_of_names_numbers_and_one_hot_labels(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=IMAGES, labels=np.array(["wolf", "lynx", "wolf", "bear"]))
    assert open_labelled(str(path), None).class_names == ("bear", "lynx", "wolf")
    assert labels(path) == [2, 1, 2, 0]
    np.savez(path, images=IMAGES, labels=np.eye(7, dtype=np.uint8)[[6, 0, 3, 3]])
    assert labels(path) == [6, 0, 3, 3]
    np.savez(path, images=IMAGES, labels=np.array([0, 1, -1, 0]))
    with pytest.raises(ConfigError, match="label -1: count the new classes from 0 on"):
        labels(path)


def test_a_users_set_tells_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "sets.py"
    path.write_text(
        "import numpy as np\n\nclass Beasts:\n    classes = ['wolf', 'lynx']\n\n"
        "    def __len__(self):\n        return 2\n\n"
        "    def __getitem__(self, number):\n        return np.zeros((8, 8), np.uint8), 1 - number\n"
    )
    found = open_labelled(f"{path}:Beasts", None)
    assert found.class_names == ("wolf", "lynx")
    assert labels(f"{path}:Beasts") == [1, 0]


def test_the_digits_of_some_classes() -> None:
    whole, some = open_labelled("digits", 10), open_labelled("digits:5-9", None)
    assert (some.classes, some.class_names) == (5, ("5", "6", "7", "8", "9"))
    counts = Counter(label for _, label in whole.read())
    assert Counter(label for _, label in some.read()) == {number - 5: counts[number] for number in range(5, 10)}
    train = open_labelled("digits:train:5-9", None).count
    assert train is not None
    assert some.count is not None
    assert train > 2 * some.count
    with pytest.raises(ConfigError, match="digits:5-7"):
        open_labelled("digits:7-5", None)


@pytest.mark.parametrize(
    "name", ["digits:", "digits:5", "digits:5-", "digits:test", "digits:5-12", "digit", "digits-5-9"]
)
def test_other_names_are_no_digits(name: str) -> None:
    assert not is_digits(name)


def test_names_that_two_sets_share() -> None:
    assert same_names(["Fire_Truck", "lynx"], ["wolf", "fire truck"]) == ["fire truck"]
    assert same_names([], ["wolf"]) == []
    assert names_by_number({"b": 1, "a": 0}) == ("a", "b")
    assert names_by_number({"7": 0}) == ()
