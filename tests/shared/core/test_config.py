"""Settings from text and YAML, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dreamdistill.shared.core.config import (
    StageConfig,
    fingerprint,
    from_mapping,
    load_yaml,
    nested,
    overlay,
    setting,
    settings_of,
    to_mapping,
)
from dreamdistill.shared.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate: float = setting(0.1, help="a rate")
    sizes: tuple[int, ...] = setting((1,), help="sizes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    depth: int = setting(3, help="a depth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(StageConfig):
    out: Path = setting(Path("out"), help="where")
    needed: str = setting(help="a name")
    mode: str = setting("a", help="a mode", choices=("a", "b"))
    maybe: int | None = setting(None, help="perhaps a number")
    changes: Mapping[str, Any] = overlay(Inner)
    other: Other = nested(Other(depth=5))


def read(**values: object) -> Example:
    return from_mapping(Example, {"needed": "x", **values})


def test_settings_of_nested_and_overlaid_classes_are_settings_of_the_whole() -> None:
    settings = settings_of(Example)
    assert settings["rate"].default is None  # a preset's affair
    assert settings["depth"].default == 5
    assert settings["maybe"].flag == "--maybe"


def test_text_is_read_as_the_type_says() -> None:
    made = read(rate="1e-3", sizes="2, 3", maybe="4", depth=7, overwrite="yes", out="a/b", **{"mode": "b"})
    assert made.changes == {"rate": 1e-3, "sizes": (2, 3)}
    assert (made.maybe, made.other.depth, made.overwrite, made.out, made.mode) == (4, 7, True, Path("a/b"), "b")


def test_yaml_values_are_read_likewise() -> None:
    assert read(sizes=[2, 3]).changes == {"sizes": (2, 3)}
    assert read(sizes=2).changes == {"sizes": (2,)}
    assert read(maybe=None).maybe is None
    assert read(rate=1).changes == {"rate": 1.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1}, "unknown option 'rat' in the configuration; did you mean 'rate'"),
        ({"rate": "fast"}, "--rate must be a number, not 'fast'"),
        ({"maybe": 1.5}, "--maybe must be a whole number"),
        ({"maybe": True}, "--maybe must be a whole number"),
        ({"sizes": "1,x"}, "--sizes must be whole numbers separated by commas"),
        ({"sizes": ""}, "--sizes must be whole numbers"),
        ({"overwrite": "perhaps"}, "--overwrite must be true or false"),
        ({"mode": "c"}, "--mode must be one of a, b"),
        ({"mode": None}, "--mode needs a value"),
        ({"seed": -1}, "--seed must be 0 or more"),
    ],
)
def test_what_cannot_be_read_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(**values)


def test_a_setting_without_default_is_required() -> None:
    with pytest.raises(ConfigError, match="--needed is required"):
        from_mapping(Example, {})


def test_to_mapping_is_read_back() -> None:
    made = read(rate=0.5, depth=9, out="x")
    flat = to_mapping(made)
    assert flat["rate"] == 0.5
    assert flat["depth"] == 9
    assert from_mapping(Example, flat) == made


def test_fingerprints_do_not_depend_on_order() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_yaml_files_that_are_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text, message in (("- a", "must hold"), ("a: [", "not valid YAML")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_yaml(path)
    with pytest.raises(ConfigError, match="cannot read"):
        load_yaml(tmp_path / "none.yaml")
