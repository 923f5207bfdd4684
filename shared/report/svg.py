"""What SVG pictures are drawn with: colours, axes, lines and texts. Every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from ..core.errors import printable

TICKS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of a picture.

    Attributes:
        text, faint, grid: of titles, of numbers at axes, and of the lines behind.
        ground: of the whole picture; None draws none.
        strong: of a text on a strong colour.
        series: of curves and points, in turn.
    """

    text: str
    faint: str
    grid: str
    ground: str | None
    strong: str
    series: tuple[str, ...]

    def of(self, number: int) -> str:
        return self.series[number % len(self.series)]


# For a file: with a white ground, so that it can be read on any page.
PAPER = Palette(
    text="#24292f",
    faint="#24292f",
    grid="#d0d7de",
    ground="white",
    strong="white",
    series=("#1f6feb", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#6e7781"),
)
# For a part of a page, whose style (:mod:`.style`) has the colours, light or dark.
PAGE = Palette(
    text="var(--text)",
    faint="var(--faint)",
    grid="var(--line)",
    ground=None,
    strong="var(--strong)",
    series=tuple(f"var(--c{number})" for number in range(6)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Places of values between two edges of a picture.

    Attributes:
        low, high: the values at the edges; of a logarithmic axis, their decimal logarithms.
        start, end: the places of the edges, in pixels.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, log: bool = False) -> Axis:
        """An axis with room for these values. A logarithmic one takes positive values alone."""
        if log:
            values = [math.log10(value) for value in values]
        low, high = min(values), max(values)
        room = 0.08 * (high - low) or (0.1 if log else 0.5 * abs(high)) or 1.0
        return cls(low=low - room, high=high + room, start=start, end=end, log=log)

    def at(self, value: float) -> float:
        if self.log:
            value = math.log10(value)
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round numbers, a few more or less than :data:`TICKS`."""
        if self.log and self.high - self.low > 1:
            return self._decades()
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        rough = (high - low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
        first = math.ceil(low / step)
        return [step * number for number in range(first, math.floor(high / step) + 1)]

    def _decades(self) -> list[float]:
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        factors = (1, 2, 5) if self.high - self.low <= 2 else (1, 3) if self.high - self.low <= 3 else (1,)
        every = max(1, len(powers) // TICKS) if factors == (1,) else 1
        ticks = [factor * 10.0**power for power in powers[::every] for factor in factors]
        return [tick for tick in ticks if self.low <= math.log10(tick) <= self.high]


def opening(width: float, height: float, palette: Palette, *, title: str, size: int = 13) -> str:
    """The beginning of a picture, with a title for those who cannot see it."""
    sides = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {sides} font-family="sans-serif" font-size="{size}" role="img">',
        f"<title>{safe(title)}</title>",
    ]
    if palette.ground is not None:
        parts.append(f'<rect width="{width:g}" height="{height:g}" fill="{palette.ground}"/>')
    return "\n".join(parts)


def line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> str:
    style = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{style}/>'


def curve(places: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'


def circle(x: float, y: float, radius: float, colour: str, *, title: str = "") -> str:
    inner = f"<title>{safe(title)}</title>" if title else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}">{inner}</circle>'


def text(
    x: float,
    y: float,
    content: str,
    colour: str,
    *,
    anchor: str = "start",
    size: int | None = None,
    turned: float = 0,
) -> str:
    """A text.

    Args:
        turned: degrees, clockwise, about its place.
    """
    turn = f' transform="rotate({turned:g} {x:.1f} {y:.1f})"' if turned else ""
    size_of = f' font-size="{size}"' if size else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}{size_of}{turn}>{safe(content)}</text>"


def safe(content: str) -> str:
    """A text of anybody's, as XML shows it."""
    return escape(printable(content))


def number(value: float, percent: bool, *, exact: bool = False) -> str:
    """A number at an axis, or exactly at a point."""
    if percent:
        return f"{100 * value:.{1 if exact else 0}f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 and abs(value) < 1e7 else f"{value:.3g}"
