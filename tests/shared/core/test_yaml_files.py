"""YAML files of a stranger: what is refused, and that the refusal comes before the harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from dreamdistill.shared.core.yaml_files import DEEPEST, LARGEST, read_yaml


@pytest.fixture
def read(tmp_path: Path):
    def write_and_read(text: str | bytes) -> object:
        path = tmp_path / "file.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_yaml(path)

    return write_and_read


def test_it_reads_what_pyyaml_reads(read) -> None:
    for path in sorted((Path(__file__).parents[3] / "pipelines").glob("*.yaml")):
        assert read(path.read_text()) == yaml.safe_load(path.read_text()), path
    assert read("a: [1, 2.5, true, null, x]\nb: &b {c: 1}\nd: {<<: *b, c: 2}") == {
        "a": [1, 2.5, True, None, "x"],
        "b": {"c": 1},
        "d": {"c": 2},
    }
    assert read("") is None
    assert read(b"\xef\xbb\xbfa: 1") == {"a": 1}


def test_a_date_is_a_text(read) -> None:
    assert read("day: 2001-12-14") == {"day": "2001-12-14"}
    assert read("day: 2001-99-99") == {"day": "2001-99-99"}


def test_on_and_off_are_texts(read) -> None:
    assert read("[on, off, yes, no, Off, ON, y, n]") == ["on", "off", "yes", "no", "Off", "ON", "y", "n"]
    assert read("[true, False, TRUE]") == [True, False, True]
    assert read("no: x") == {"no": "x"}


def laughs(levels: int) -> str:
    """Anchors that each name the one before them nine times."""
    chain = ", ".join(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels))
    return f"a: [&a0 [x], {chain}]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (laughs(12), "aliases are expanded"),
        ("a: &a [*a]", "holds itself"),
        ("a: &a {b: *a}", "holds itself"),
        ("&a\nb: *a", "holds itself"),
        ("a: 1\na: 2", "line 2 has the key 'a' a second time"),
        ("b: {a: 1, c: 3, a: 2}", "a second time"),
        ("7: x", "a key that is no text"),
        ("? [1, 2]\n: 3", "a key that is no text"),
        ("true: x", "a key that is no text"),
        ("a: !!python/object/apply:os.system ['true']", "tag"),
        ("a: !!python/name:os.system", "tag"),
        ("a: !!binary aGVsbG8=", "tag"),
        ("a: !!set {b, c}", "tag"),
        ("a: !own 1", "tag"),
        ("a: " + "[" * 10_000, "too many levels"),
        ("a: " + "{a: " * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), "too many levels"),
        ("a: " + "9" * 5000, "digits"),
        ("a: " + ":".join(["59"] * 3000), "digits"),
        ("a: *b", "undefined alias"),
        ("a: 1\n---\nb: 2", "single document"),
        (b"a: \xff", "utf-8"),
        ("a: 1\n".encode("utf-16"), "utf-8"),
        (b"a: \x00", "special characters"),
    ],
)
def test_what_is_refused(read, text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(text)


def test_a_chain_of_aliases_is_no_way_round_the_depth(read) -> None:
    links = [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2 * DEEPEST)]
    with pytest.raises(ValueError, match="too many levels"):
        read("\n".join(["a0: &a0 [x]", *links]))


def test_what_is_no_file_or_too_large(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGEST + 1)
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "fifo")  # would be waited for without end
    for name in ("large", "zero", "fifo"):
        with pytest.raises(ValueError, match="it is"):
            read_yaml(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none")
