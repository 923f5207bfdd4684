"""A line chart as SVG, which every browser shows: points of a curve, and horizontal lines to compare them with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 48, 56  # margins
TICKS = 5
COLOUR, GRID, TEXT = "#1f6feb", "#d0d7de", "#24292f"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """What a chart shows.

    Attributes:
        points: (x, y) of the curve, from left to right; two or more.
        lines: title -> y of a horizontal line.
        percent: whether the numbers of an axis are shares, x and y.
    """

    title: str
    x_title: str
    y_title: str
    points: Sequence[tuple[float, float]]
    lines: Mapping[str, float]
    percent: tuple[bool, bool] = (True, True)

    def svg(self) -> str:
        """The picture, with a white ground, so that it can be read on any page."""
        xs = [x for x, _ in self.points]
        ys = [*(y for _, y in self.points), *self.lines.values()]
        x_axis, y_axis = _Axis.over(xs, LEFT, WIDTH - RIGHT), _Axis.over(ys, HEIGHT - BOTTOM, TOP)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
            ' font-family="sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(LEFT, TOP - 20, self.title, size=16),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, self.x_title, anchor="middle"),
            _text(16, (TOP + HEIGHT - BOTTOM) / 2, self.y_title, anchor="middle", turned=True),
        ]
        for y in y_axis.ticks:
            parts.append(_line(LEFT, y_axis.at(y), WIDTH - RIGHT, y_axis.at(y), GRID))
            parts.append(_text(LEFT - 8, y_axis.at(y) + 4, _number(y, self.percent[1]), anchor="end"))
        for x in x_axis.ticks:
            parts.append(_line(x_axis.at(x), HEIGHT - BOTTOM, x_axis.at(x), HEIGHT - BOTTOM + 5, TEXT))
            parts.append(_text(x_axis.at(x), HEIGHT - BOTTOM + 20, _number(x, self.percent[0]), anchor="middle"))
        for title, y in self.lines.items():
            parts.append(_line(LEFT, y_axis.at(y), WIDTH - RIGHT, y_axis.at(y), TEXT, dashed=True))
            parts.append(_text(WIDTH - RIGHT, y_axis.at(y) - 6, title, anchor="end"))
        places = [(x_axis.at(x), y_axis.at(y)) for x, y in self.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOUR}" stroke-width="2"/>')
        for (x, y), (_, value) in zip(places, self.points, strict=True):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOUR}"/>')
            parts.append(_text(x, y + 18, _number(value, self.percent[1], exact=True), anchor="middle", size=11))
        return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    low: float
    high: float
    start: float  # place of low, in pixels
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = min(values), max(values)
        room = 0.08 * (high - low) or 0.5 * abs(high) or 1.0
        return cls(low=low - room, high=high + room, start=start, end=end)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round numbers, a few more or less than :data:`TICKS`."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
        first = math.ceil(self.low / step)
        return [step * number for number in range(first, math.floor(self.high / step) + 1)]


def _number(value: float, percent: bool, *, exact: bool = False) -> str:
    return f"{100 * value:.{1 if exact else 0}f} %" if percent else f"{value:.3g}"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> str:
    style = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{style}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int | None = None, turned: bool = False
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    size_of = f' font-size="{size}"' if size else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{TEXT}"'
    return f"<text {place}{size_of}{turn}>{escape(text)}</text>"
