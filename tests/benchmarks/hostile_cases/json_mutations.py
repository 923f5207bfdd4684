"""Mutations of a JSON record: every field in turn gets values of another type, and numbers and texts beyond reason."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

_RAW = "@@{}@@"  # a token that JSON's writer would not write, as a text that is replaced afterwards
HUGE_INT = _RAW.format("9" * 5000)

Text = Callable[[], str]

TEXTS: dict[str, str] = {
    "newline": "a\nerror: b\r\nc",
    "escape sequences": "\x1b[31mred\x1b[2J\x1b]0;title\x07\x9b31m",
    "rich markup": "[red]a[/red] [/] [bold [/blue] [link=file:///etc]x[/link] [@click=app.quit]y[/]",
    "closing markup": "[/]",
    "long": "x" * 200_000,
    "NUL": "a\0b",
    "surrogate": "\ud800\udfff x \udcff",
    "right to left": "\u202eabc\u2066",
    "empty": "",
    "path": "../../../../etc/passwd",
}
_NUMBERS: dict[str, Any] = {
    "negative": -1,
    "zero": 0,
    "10^12": 10**12,
    "10^30": 10**30,
    "NaN": _RAW.format("NaN"),
    "Infinity": _RAW.format("-Infinity"),
    "1e999": _RAW.format("1e999"),
    "5,000 digits": HUGE_INT,
    "fraction": 0.5,
}
_TYPES: dict[str, Any] = {
    "null": None,
    "true": True,
    "text": "7",
    "list": [],
    "mapping": {},
    "nested list": [[[1]]],
}


def as_text(value: Any) -> str:
    """JSON of a record, with the tokens above in it."""
    text = json.dumps(value, indent=1) + "\n"
    return re.sub(r'"@@(.*?)@@"', r"\1", text)


def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all fields in a record, and of the first item of each list."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from fields(item, (*path, key))
    elif isinstance(value, list) and value:
        yield from fields(value[0], (*path, 0))


def get(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def changed(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a record with one field replaced."""
    result = copy.deepcopy(record)
    get(result, path[:-1])[path[-1]] = value
    return result


def without(record: Any, path: tuple[Any, ...]) -> Any:
    result = copy.deepcopy(record)
    del get(result, path[:-1])[path[-1]]
    return result


def mutations(record: dict[str, Any], *, deep: int = 99) -> Iterator[tuple[str, Text]]:
    """Mutated texts of a record, with a name for each. A text is made when it is asked for.

    Args:
        deep: fields below this depth get one wrong type each, in place of all.
    """
    for number, path in enumerate(fields(record)):
        where, old = ".".join(map(str, path)), get(record, path)
        values: dict[str, Any] = dict(_TYPES)
        if isinstance(old, int | float) and not isinstance(old, bool):
            values |= _NUMBERS
        elif isinstance(old, str) or old is None:
            values |= TEXTS
            values["number"] = 7
        elif isinstance(old, list | dict):
            values |= {"number": 7, "many": [old] * 10_000, "text": "a,b"}
        if len(path) > deep:
            names = list(values)
            values = {name: values[name] for name in (names[number % len(names)],)}
        for name, value in values.items():
            if value != old or type(value) is not type(old):
                yield f"{where}: {name}", lambda path=path, value=value: as_text(changed(record, path, value))
        if path[-1] != 0:
            yield f"{where}: missing", lambda path=path: as_text(without(record, path))
    yield from _whole(record)


def _whole(record: dict[str, Any]) -> Iterator[tuple[str, Text]]:
    text = as_text(record)
    first = next(iter(record))
    yield "unknown field", lambda: as_text({**record, "surprise": 1})
    yield "field named by an escape sequence", lambda: as_text({**record, "\x1b[2J\n[red]": 1})
    yield "key twice", lambda: text.replace("{\n", "{\n" + f" {json.dumps(first)}: {json.dumps(record[first])},\n", 1)
    yield "deep field", lambda: as_text({**record, "deep": _RAW.format("[" * 50_000 + "]" * 50_000)})
    yield "100,000 fields", lambda: as_text({**record, **{f"f{number}": number for number in range(100_000)}})
    yield "text after the end", lambda: text + "{}"
    yield "other schema", lambda: as_text({**record, "schema": 10**9})
    yield "old schema", lambda: as_text({**record, "schema": 1})
    yield "schema of another type", lambda: as_text({**record, "schema": {"a": [1] * 1000}})
    yield "no schema", lambda: as_text({name: value for name, value in record.items() if name != "schema"})
