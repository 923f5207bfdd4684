"""Lists of images: columns, separators, labels, and what is refused with its row."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.labelled import open_labelled

Measure = Callable[..., float]
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
NAMES = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "img").mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 16), colour).save(tmp_path / f"img/{name}.png")
    Image.new("RGB", (20, 16), COLOURS["red"]).save(tmp_path / "img/a, b;c.png")
    return tmp_path


# Each list has red, green and blue images with their labels and one wrong label: 3 of 4 are right.
LISTS = {
    "numbers": "path,label\nimg/red.png,0\nimg/green.png,1\nimg/blue.png,2\nimg/blue.png,0\n",
    "semicolons": "Label;File Name\n0;img/red.png\n1;img/green.png\n2;img/blue.png\n0;img/blue.png\n",
    "tabs": "filename\ttarget\nimg/red.png\t0\nimg/green.png\t1\nimg/blue.png\t2\nimg/blue.png\t0\n",
    "no header": "img/red.png,0\nimg/green.png,1\nimg/blue.png,2\nimg/blue.png,0",
    "no header, turned": "0,img/red.png\n1,img/green.png\n2,img/blue.png\n0,img/blue.png",
    "names": "path,label\nimg/red.png,red\nimg/green.png,Green\nimg/blue.png, BLUE \nimg/blue.png,red\n",
    "one known column": "image,colour\nimg/red.png,red\nimg/green.png,green\nimg/blue.png,blue\nimg/blue.png,red\n",
    "names beside other numbers": (
        "id,path,label,class_name\n7,img/red.png,2,red\n8,img/green.png,1,green\n9,img/blue.png,0,blue\n1,img/red.png,2,blue\n"
    ),
    "quotes": 'path,label\r\n"img/a, b;c.png","0"\r\nimg/green.png,1\r\n\r\n"img/blue.png",2\r\nimg/blue.png,0\r\n',
    "separators in paths": 'path;label\nimg/red.png;0\n"img/a, b;c.png";0\nimg/blue.png;2\nimg/blue.png;0\n',
    "of Windows": "path,label\nimg\\red.png,0\n.\\img\\green.png,1\nimg\\blue.png,2\nimg\\blue.png,0\n",
    "of pandas": "path,label\nimg/red.png,0.0\nimg/green.png,1.0\nimg/blue.png,2.0\nimg/blue.png,0.0\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", LISTS)
def test_lists(measure: Measure, folder: Path, name: str, encoding: str) -> None:
    (folder / "list.csv").write_bytes(LISTS[name].encode(encoding))
    assert open_labelled(str(folder / "list.csv"), 3, NAMES).count == 4
    assert measure(folder / "list.csv", NAMES) == 0.75


def test_a_tsv_and_absolute_paths(measure: Measure, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("x.TSV").write_text(f"{folder}/img/red.png\t0\nimg/green.png\t1\n")
    assert measure("x.TSV") == 1.0


def test_names_of_the_network_in_another_order(measure: Measure, folder: Path) -> None:
    (folder / "list.csv").write_text(LISTS["names"])
    assert measure(folder / "list.csv", ("blue", "red", "green")) == 0.0


def test_texts_are_sorted_where_the_network_has_no_names(
    measure: Measure, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ("img/red.png,a", "img/green.png,b", "img/blue.png,c")
    (folder / "list.csv").write_text("\n".join(("path,label", *rows)))
    assert measure(folder / "list.csv") == 1.0
    said = capsys.readouterr().err
    assert said.startswith(f"{folder / 'list.csv'}: the labels are sorted as texts (a, b, c), since the teacher has no")
    assert said.count("\n") == 1


SEVEN = "path,label\n" + "img/red.png,0\n" * 5
BAD: dict[str, tuple[str, tuple[str, ...], str]] = {
    "missing file": (SEVEN + "img/none.png,1\n", (), "list.csv: row 7 names 'img/none.png', and there is no such file"),
    "no path": (SEVEN + ",1\n", (), "row 7 names ''"),
    "a folder": (SEVEN + "img,1\n", (), "row 7 names 'img', which is no regular file"),
    "a pipe": (SEVEN + "pipe,1\n", (), "row 7 names 'pipe', which is no regular file"),
    "too large a label": (SEVEN + "img/red.png,3\n", (), r"row 7 has label 3, .* must lie in 0\.\.2"),
    "negative": (SEVEN + "img/red.png,-1\n", NAMES, "row 7 has label -1"),
    "unknown name": (SEVEN + "img/red.png,gren\n", NAMES, "row 7 has label 'gren'"),
    "name unlike the network's": ("a.png,red\n", ("x", "y", "z"), "no such file"),
    "other name": (
        "path,label\nimg/red.png,gren\n",
        NAMES,
        "row 2 has label 'gren', .*red, green, blue; did you.*'green'",
    ),
    "name of two classes": ("path,label\nimg/red.png,a b\n", ("a_b", "A B", "c"), "row 2 .*the name of 2 classes"),
    "names and numbers": (
        SEVEN + "img/red.png,green\n",
        NAMES,
        "row 7 has label 'green', where others are class numbers",
    ),
    "mixed": (SEVEN + "img/red.png,cat\n", (), "row 7 has label 'cat', where others are class numbers"),
    "other number of classes": ("img/red.png,a\nimg/red.png,b\n", (), "list.csv has 2 classes and the network 3"),
    "no label": (SEVEN + "img/red.png,\n", (), "row 7 has no label"),
    "a cell more": (SEVEN + "img/red.png,1,2\n", (), "row 7 has 3 cells and the first row 2"),
    "unknown columns": ("a,b,c\nimg/red.png,1,2\n", (), "no columns of paths and labels"),
    "one column": ("img/red.png\n", (), "no columns of paths and labels"),
    "empty": ("", (), "no columns of paths and labels"),
    "header alone": ("path,label\n", (), "has no rows"),
    "NUL": ("path,label\nimg/\0.png,0\n", (), "row 2 names|cannot be read"),
    "an open quote": ('path,label\n"img/red.png,0\n' + "x" * 200_000, (), "cannot be read: field larger"),
}


@pytest.mark.parametrize("name", BAD)
def test_lists_that_are_refused(folder: Path, name: str) -> None:
    text, class_names, says = BAD[name]
    os.mkfifo(folder / "pipe")
    (folder / "list.csv").write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        open_labelled(str(folder / "list.csv"), 3, class_names)
    assert "\n" not in str(caught.value)


def test_other_encodings_and_images_are_refused(folder: Path) -> None:
    (folder / "list.csv").write_bytes("img/grün.png,0".encode("latin-1"))
    with pytest.raises(ConfigError, match="give a CSV file in UTF-8"):
        open_labelled(str(folder / "list.csv"), 3)
    (folder / "list.csv").write_text("list.csv,0\nimg/red.png,1")
    with pytest.raises(ConfigError, match="no columns"):
        open_labelled(str(folder / "list.csv"), 3)
    (folder / "list.csv").write_text("path,label\nlist.csv,0")
    with pytest.raises(ConfigError, match=r"list.csv cannot be read: it is damaged"):
        list(open_labelled(str(folder / "list.csv"), 3).read())
