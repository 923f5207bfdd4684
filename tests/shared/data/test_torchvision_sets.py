"""torchvision's data sets: which there are, which part is read, and in what order their classes are."""

from __future__ import annotations

import inspect
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image
from torchvision import datasets

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data import torchvision_sets
from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.data.torchvision_sets import classification_sets, open_torchvision, parameters_of

Measure = Callable[..., float]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
NO_PART = {"Caltech101", "Caltech256", "EuroSAT", "SEMEION", "SUN397"}


def save(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), COLOURS[colour]).save(path, quality=95)


def write_idx(path: Path, labels: Iterable[int]) -> None:
    """The two files of a part of MNIST: images that are as bright as their label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = list(labels)
    pixels = b"".join(bytes([label]) * 28 * 28 for label in labels)
    path.with_name(f"{path.name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, len(labels), 28, 28) + pixels)
    path.with_name(f"{path.name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(labels)) + bytes(labels))


# Which sets there are


def test_every_name_of_torchvision_is_read_or_refused_for_a_reason() -> None:
    known = classification_sets()
    assert {"CIFAR100", "EMNIST", "EuroSAT", "ImageNet", "INaturalist", "STL10", "SVHN", "Places365"} <= set(known)
    for name in datasets.__all__:
        if name not in known:
            with pytest.raises(ConfigError, match=rf"torchvision's {name} (has|is) .*; use one of CIFAR10, "):
                open_labelled(f"torchvision:{name}:x", 10)


def test_the_tables_name_sets_that_there_are() -> None:
    named = {*torchvision_sets._REASONS, *torchvision_sets._TEST_PARTS}
    assert named - set(datasets.__all__) == set()


@pytest.mark.parametrize("name", classification_sets())
def test_every_set_is_asked_for_a_part_that_it_has(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """None of the files is there: each set must say so, and not that its arguments are wrong."""
    spec = f"torchvision:{name}{'/letters' * (name == 'EMNIST')}:{tmp_path}"
    with pytest.raises(ConfigError) as caught:
        open_labelled(spec, 10)
    says = str(caught.value)
    assert "put torchvision's files of this set under ROOT" in says or "install this module" in says
    assert not any(word in says for word in ("argument", "Unknown", "unexpected", "download=True"))
    taken = parameters_of(getattr(datasets, name))
    assert taken.keys().isdisjoint(torchvision_sets._PART_ARGUMENTS) == (name in NO_PART)
    assert inspect.isclass(getattr(datasets, name))


# Sets with their files


def test_the_test_part_of_mnist(tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST/raw/t10k", [3, 1])
    write_idx(tmp_path / "MNIST/raw/train", [5, 5, 5])
    for part, labels in (("", [3, 1]), ("/test", [3, 1]), ("/train", [5, 5, 5]), ("/train=true", [5, 5, 5])):
        found = open_labelled(f"torchvision:MNIST{part}:{tmp_path}", 10)
        assert [(image.getpixel((0, 0)), label) for image, label in found.read()] == [((n,) * 3, n) for n in labels]
        assert found.count == len(labels)


def test_the_letters_of_emnist_for_networks_of_27_and_of_26_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_idx(tmp_path / "EMNIST/raw/emnist-letters-test", [1, 26])
    spec = f"torchvision:EMNIST/letters:{tmp_path}"
    assert [label for _, label in open_labelled(spec, 27).read()] == [1, 26]
    assert capsys.readouterr().err == ""
    assert [label for _, label in open_labelled(spec, 26).read()] == [0, 25]
    assert "one is taken from each" in capsys.readouterr().err
    backwards = [chr(code) for code in range(ord("Z"), ord("A") - 1, -1)]
    assert [label for _, label in open_labelled(spec, 26, backwards).read()] == [25, 0]
    with pytest.raises(ConfigError, match=r"write torchvision:EMNIST/SET:ROOT, with one of byclass, bymerge, balanced"):
        open_labelled(f"torchvision:EMNIST:{tmp_path}", 47)


def test_a_set_without_parts_says_so(measure: Measure, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for colour, name in enumerate(("A_red", "B green", "c-blue")):
        save(tmp_path / f"eurosat/2750/{name}/1.jpg", colour)
    spec = f"torchvision:EuroSAT:{tmp_path}"
    assert measure(spec) == 1.0
    assert "EuroSAT has no test part, so all images are used" in capsys.readouterr().err
    assert measure(spec, ("a red", "b_green", "C BLUE")) == 1.0
    assert measure(spec, ("c blue", "a red", "b green")) == 0.0


def test_classes_in_the_network_s_order(measure: Measure, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "food-101/meta").mkdir(parents=True)
    meta = {"blue_food": ["c/1"], "green_food": ["b/1"], "red_food": ["a/1"]}  # sorted: the order of torchvision's
    (tmp_path / "food-101/meta/test.json").write_text(json.dumps(meta))
    for colour, name in enumerate("abc"):
        save(tmp_path / f"food-101/images/{name}/1.jpg", colour)
    spec = f"torchvision:Food101:{tmp_path}"
    assert measure(spec) == pytest.approx(1 / 3)  # green alone is at its place
    assert measure(spec, ("Red food", "green food", "blue food")) == 1.0
    assert capsys.readouterr().err == ""
    assert measure(spec, ("Red food", "green food", "blue")) == pytest.approx(1 / 3)
    assert "'red_food' is class 2, and the teacher's class 0" in capsys.readouterr().err


def test_arguments_of_a_set(measure: Measure, tmp_path: Path) -> None:
    data = tmp_path / "fgvc-aircraft-2013b/data"
    for colour in range(3):
        save(data / f"images/{colour}.jpg", colour)
    (data / "families.txt").write_text("A\nB\nC\n")
    (data / "images_family_test.txt").write_text("0 A\n1 B\n2 C\n2 A\n")
    assert measure(f"torchvision:FGVCAircraft/annotation_level=family:{tmp_path}") == 0.75
    assert measure(f"torchvision:FGVCAircraft/test,annotation_level=family:{tmp_path}") == 0.75


def test_the_first_of_several_names_of_a_class_counts(measure: Measure, tmp_path: Path) -> None:
    for colour, wnid in enumerate(("n01440764", "n02102040", "n02979186")):
        save(tmp_path / f"imagenette2-160/val/{wnid}/1.JPEG", colour)
    spec = f"torchvision:Imagenette/size=160px:{tmp_path}"
    assert measure(spec) == 1.0
    assert measure(spec, ("English springer", "tench", "cassette player")) == pytest.approx(1 / 3)


def test_damaged_images_and_missing_labels(tmp_path: Path) -> None:
    save(tmp_path / "eurosat/2750/a/1.jpg", 0)
    (tmp_path / "eurosat/2750/a/1.jpg").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="item 0 cannot be read: cannot identify"):
        list(open_labelled(f"torchvision:EuroSAT:{tmp_path}", 1).read())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (
            "torchvision:CIFAR99:x",
            r"no data set 'CIFAR99'.*torchvision:CIFAR10:data, with one of CIFAR10, .*; did you mean 'CIFAR",
        ),
        ("torchvision:CIFAR10", "write torchvision:NAME:ROOT"),
        ("torchvision::", "write torchvision:NAME:ROOT"),
        ("torchvision:__path__:x", "no data set"),
        (
            "torchvision:SVHN/tset:x",
            r"Unknown value 'tset' for argument split\. Valid values are .*; write another part",
        ),
        ("torchvision:SVHN/size=3:x", "SVHN takes split, and not 'size=3'; write torchvision:SVHN:ROOT"),
        ("torchvision:SEMEION/test:x", "SEMEION has no parts, and not 'test'"),
        ("torchvision:SEMEION/download=true:x", "has no parts"),
        ("torchvision:MNIST/half:x", "train is true or false, and not 'half'"),
        ("torchvision:DTD/partition=a:x", "partition is a whole number"),
    ],
)
def test_names_that_are_refused(spec: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_labelled(spec, 10)


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is downloaded"):
        open_torchvision(f"torchvision:SEMEION:{tmp_path}", torchvision_sets.Classes(number=10))
    assert list(tmp_path.iterdir()) == []
