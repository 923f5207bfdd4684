"""Typed records from JSON: what is read, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from dreamdistill.shared.core.records import from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    sizes: tuple[int, ...]
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    share: float
    inner: Inner
    more: tuple[Inner, ...]
    table: dict[str, list[int]]
    free: dict[str, Any]
    done: bool = False


GOOD = Outer(
    share=0.5,
    inner=Inner(sizes=(1, 2), name=None),
    more=(Inner(sizes=(), name="a"),),
    table={"x": [1, 2]},
    free={"y": [None, {"z": 1}]},
)


def test_what_is_written_is_read_back() -> None:
    assert from_json(Outer, json.loads(json.dumps(asdict(GOOD)))) == GOOD
    assert from_json(Outer, {**asdict(GOOD), "share": 1, "inner": {"sizes": [3], "name": "n"}, "more": []}).share == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": "0.5"}, r"Outer\.share is no float: '0\.5'"),
        ({"share": True}, r"Outer\.share is no float"),
        ({"done": 1}, r"Outer\.done is no bool"),
        ({"inner": {"sizes": [1.5], "name": None}}, r"Outer\.inner\.sizes is no int: 1\.5"),
        ({"inner": {"sizes": [1]}}, r"Outer\.inner lacks 'name'"),
        ({"inner": []}, r"Outer\.inner is no dict"),
        ({"table": {"x": 3}}, r"Outer\.table is no list"),
        ({"surplus": 1}, "unknown field 'surplus'"),
    ],
)
def test_what_is_no_such_record_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(Outer, {**json.loads(json.dumps(asdict(GOOD))), **change})
