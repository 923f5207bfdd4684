"""The parts of a page: texts, tables, pictures and charts, made of plain values. Whatever they are given is escaped."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Html:
    """A piece of a page that may stand there as it is. Only this module and :mod:`.page` make it."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page under a heading."""

    title: str
    parts: Sequence[Html]

    @property
    def anchor(self) -> str:
        """The name that links of the same page use."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


def escaped(value: object) -> str:
    """A value of anybody's as a page shows it: no tag, no quote, and no control character stays what it was."""
    return html.escape(printable(str(value)))


def paragraph(text: object) -> Html:
    return Html(text=f"<p>{escaped(text)}</p>")


def note(text: object) -> Html:
    """A paragraph of less weight."""
    return Html(text=f'<p class="note">{escaped(text)}</p>')


def warning(text: object) -> Html:
    return Html(text=f'<p class="warning" role="note">{escaped(text)}</p>')


def code(text: str) -> Html:
    """A command, or some lines, to be copied. Long lines are broken on a narrow screen."""
    # A line is broken before an option, not within it.
    lines = "\n".join(
        "".join(f"<span>{escaped(part)}</span>" for part in re.split(r"(?<= )(?=-)", line)) for line in text.split("\n")
    )
    return Html(text=f'<pre tabindex="0"><code>{lines}</code></pre>')


def tiles(values: Mapping[str, object]) -> Html:
    """A few figures that matter most, large."""
    cells = (f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in values.items())
    return Html(text=f'<dl class="tiles">{"".join(cells)}</dl>')


def facts(values: Mapping[str, object]) -> Html:
    """Names and values, a line each. What is None is left out."""
    shown = {name: value for name, value in values.items() if value is not None}
    rows = (f"<dt>{escaped(name)}</dt><dd>{escaped(shown_as(value))}</dd>" for name, value in shown.items())
    return Html(text=f'<dl class="facts">{"".join(rows)}</dl>')


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, colours: Sequence[int] = ()) -> Html:
    """A table, which scrolls inside itself where it is too wide. Numbers are aligned; None is an empty cell.

    Args:
        columns: the titles; the first column names the rows.
        colours: a colour's number for each row, shown as a dot before its name, as the charts have it.
    """
    numeric = [
        i > 0 and not any(isinstance(row[i], str) and _is_text(row[i]) for row in rows) for i in range(len(columns))
    ]
    head = "".join(
        f'<th scope="col"{_class(number)}>{escaped(title)}</th>' for title, number in zip(columns, numeric, strict=True)
    )
    body = ""
    for index, row in enumerate(rows):
        dot = f'<i class="dot c{colours[index] % 6}"></i>' if colours else ""
        cells = f'<th scope="row">{dot}{escaped(row[0])}</th>'
        cells += "".join(
            f"<td{_class(n)}>{escaped(shown_as(v))}</td>" for v, n in zip(row[1:], numeric[1:], strict=True)
        )
        body += f"<tr>{cells}</tr>"
    name = escaped(f"table: {columns[0]}, {columns[-1]}")
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return Html(text=f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{inner}</div>')


def picture(data: bytes, kind: str, *, alt: str, caption: str = "") -> Html:
    """An image that the page carries in itself.

    Args:
        kind: ``png`` or ``jpeg``.
    """
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    below = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return Html(text=f'<figure class="sheet"><img src="{source}" alt="{escaped(alt)}">{below}</figure>')


def chart(svg: str, *, title: str, caption: str = "", legend: Mapping[str, int] | None = None) -> Html:
    """A chart under its title.

    Args:
        svg: made by this room, with the colours of :data:`~.svg.PAGE`.
        legend: name -> number of its colour.
    """
    names = (f'<li><i class="dot c{number % 6}"></i>{escaped(name)}</li>' for name, number in (legend or {}).items())
    key = f'<ul class="legend">{"".join(names)}</ul>' if legend else ""
    below = f'<p class="note">{escaped(caption)}</p>' if caption else ""
    return Html(text=f'<figure class="chart"><figcaption>{escaped(title)}</figcaption>{svg}{key}{below}</figure>')


def side_by_side(parts: Sequence[Html]) -> Html:
    """Charts beside one another, as many as the screen has room for."""
    return Html(text=f'<div class="beside">{"".join(part.text for part in parts)}</div>')


def group(parts: Sequence[Html]) -> Html:
    """Several parts as one, for :func:`side_by_side`."""
    return Html(text=f"<div>{''.join(part.text for part in parts)}</div>")


def card(title: str, label: str, parts: Sequence[Html]) -> Html:
    """One of several things of a kind, in a frame, with a label beside its title."""
    badge = f' <span class="label">{escaped(label)}</span>' if label else ""
    inner = "".join(part.text for part in parts)
    return Html(text=f'<article class="card"><h3>{escaped(title)}{badge}</h3>{inner}</article>')


def shown_as(value: object) -> str:
    """A value as people read it: whole numbers with commas, others with four digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f} %"


def duration(seconds: float | None) -> str | None:
    """Seconds in one suitable unit."""
    if seconds is None:
        return None
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _is_text(value: str) -> bool:
    return bool(value) and not value[0].isdigit()


def _class(numeric: bool) -> str:
    return ' class="number"' if numeric else ""
