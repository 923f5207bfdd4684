"""Settings from text and YAML, and back; bounds, choices, and presets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dreamdistill.shared.core.config import (
    GENERAL,
    Settings,
    StageConfig,
    changes_to,
    fingerprint,
    from_mapping,
    same_as,
    setting,
    settings_of,
    to_mapping,
)
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.core.yaml_files import load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(Settings):
    rate: float = setting(0.1, help="a rate", above=0)
    sizes: tuple[int, ...] = setting((1,), help="sizes", min=1, max=9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(Settings):
    depth: int = setting(3, help="a depth", group="Depths", advanced=True)
    width: int = setting(2, help="a width", group="Depths")

    def check(self) -> None:
        if self.width > self.depth:
            raise ConfigError("--width must not exceed --depth")


PRESET = Other(depth=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(StageConfig):
    needed: str = setting(help="a name")
    out: Path = setting(Path("out"), help="where")
    mode: str = setting("a", help="a mode", choices=("a", "b"))
    maybe: int | None = setting(None, help="perhaps a number", unset="none")
    share: float = setting(0.5, help="a share", min=0, below=1)
    changes: Mapping[str, Any] = changes_to(Inner)
    others: Mapping[str, Any] = changes_to(Other, preset=PRESET, group="Others")

    @property
    def other(self) -> Other:
        return PRESET.changed(self.others)

    def check(self) -> None:
        _ = self.other


def read(**values: object) -> Example:
    return from_mapping(Example, {"needed": "x", **values})


def test_settings_of_presets_are_settings_of_the_whole() -> None:
    settings = settings_of(Example)
    assert settings["rate"].default is None  # its preset is chosen later
    assert settings["depth"].default == 5
    assert (settings["depth"].group, settings["depth"].advanced) == ("Others", True)
    assert (settings["width"].group, settings["width"].advanced) == ("Others", False)
    assert settings["seed"].group == GENERAL
    assert settings["maybe"].flag == "--maybe"
    assert next(iter(settings)) == "needed"  # inherited settings come last


def test_text_is_read_as_the_type_says() -> None:
    config = read(rate="1e-3", sizes="2, 3", maybe="4", depth=7, overwrite="yes", out="a/b", **{"mode": "b"})
    assert config.changes == {"rate": 1e-3, "sizes": (2, 3)}
    assert (config.maybe, config.other.depth, config.overwrite) == (4, 7, True)
    assert (config.out, config.mode) == (Path("a/b"), "b")


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
        ({"rate": 0}, "--rate must be above 0, not 0"),
        ({"rate": "nan"}, "--rate must be a finite number, not nan"),
        ({"maybe": 1.5}, "--maybe must be a whole number"),
        ({"maybe": True}, "--maybe must be a whole number"),
        ({"sizes": "1,x"}, "--sizes must be whole numbers separated by commas"),
        ({"sizes": ""}, "--sizes must be whole numbers"),
        ({"sizes": "1,10"}, "--sizes must be 1 or more and at most 9, not 10"),
        ({"share": 1}, "--share must be 0 or more and below 1, not 1"),
        ({"overwrite": "perhaps"}, "--overwrite must be true or false"),
        ({"mode": "c"}, "--mode must be one of a, b"),
        ({"mode": None}, "--mode needs a value"),
        ({"seed": -1}, "--seed must be 0 or more, not -1"),
        ({"width": 6}, "--width must not exceed --depth"),
    ],
)
def test_what_cannot_be_read_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(**values)


def test_values_from_python_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="--share must be 0 or more"):
        Example(needed="x", share=-0.1)
    with pytest.raises(ConfigError, match="--rate must be a finite number"):
        Inner(rate=math.inf)
    with pytest.raises(ConfigError, match="--mode must be one of"):
        Example(needed="x", mode="d")


def test_a_setting_without_default_is_required() -> None:
    with pytest.raises(ConfigError, match="--needed is required"):
        from_mapping(Example, {})


def test_to_mapping_is_read_back_and_holds_the_whole_preset() -> None:
    config = read(rate=0.5, depth=9, out="x")
    flat = to_mapping(config)
    assert (flat["rate"], flat["depth"], flat["width"]) == (0.5, 9, 2)
    again = from_mapping(Example, flat)
    assert to_mapping(again) == flat
    assert again.other == config.other


@pytest.mark.parametrize("variable", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_a_restarted_job_overwrites_nothing(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    assert read(overwrite=True).overwrites
    assert not read().overwrites
    monkeypatch.setenv(variable, "1")
    assert not read(overwrite=True).overwrites


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches(Settings):
    compile: str = setting("auto", help="a choice", choices=("auto", "on", "off"))
    shift: str = setting("auto", help="a choice", choices=("auto", "none"))
    flip: bool = setting(True, help="a switch")
    name: str | None = setting(None, help="a name")
    names: tuple[str, ...] = setting((), help="names")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("compile: off", Switches(compile="off")),
        ("compile: on", Switches(compile="on")),
        ("compile: Off", Switches(compile="off")),
        ("compile: no", Switches(compile="off")),
        ("compile: false", Switches(compile="off")),
        ("compile: True", Switches(compile="on")),
        ("compile: 'auto'", Switches()),
        ("shift: none", Switches(shift="none")),
        ("flip: off", Switches(flip=False)),
        ("flip: No", Switches(flip=False)),
        ("flip: on", Switches()),
        ("name: no", Switches(name="no")),
        ("name: null", Switches()),
        ("names: [on, off, no, none]", Switches(names=("on", "off", "no", "none"))),
    ],
)
def test_words_that_some_readers_of_yaml_take_for_truth_values(tmp_path: Path, text: str, expected: Switches) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert from_mapping(Switches, load_yaml(tmp_path / "x.yaml")) == expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowing(Settings):
    rate: float = same_as(Inner, "rate")
    width: int = same_as(Other, "width", advanced=True)


def test_a_setting_may_be_the_same_as_another_class_s() -> None:
    mine, theirs = settings_of(Borrowing), settings_of(Inner)
    assert mine["rate"] == theirs["rate"]
    assert (mine["width"].help, mine["width"].group, mine["width"].advanced) == ("a width", "Depths", True)
    assert from_mapping(Borrowing, {}) == Borrowing(rate=0.1, width=2)
    with pytest.raises(ConfigError, match="--rate"):
        from_mapping(Borrowing, {"rate": 0})
