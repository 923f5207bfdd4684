"""Line charts and scatter charts as SVG, which every browser shows, for files and for pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import svg
from .svg import PAPER, Axis, Palette

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 48, 56  # margins of a file's chart
SMALL = (360, 230)  # width and height on a page: a phone shows it at its own size
SMALL_MARGINS = (46, 14, 12, 40)
LETTER = 7.0  # pixels, the width of a letter of 12 pixels

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """What a line chart shows.

    Attributes:
        series: title -> (x, y) of a curve, from left to right. One curve needs no title.
        lines: title -> y of a horizontal line to compare with.
        percent: whether the numbers of an axis are shares, x and y.
        log: whether the y axis is logarithmic; all y are positive then.
        colours: title -> number of the curve's colour; by default they are counted.
    """

    title: str
    x_title: str
    y_title: str
    series: Mapping[str, Points]
    lines: Mapping[str, float] = field(default_factory=dict)
    percent: tuple[bool, bool] = (True, True)
    log: bool = False
    colours: Mapping[str, int] = field(default_factory=dict)

    def svg(self, palette: Palette = PAPER) -> str:
        """The picture of a file, with titles, and with numbers at the points."""
        frame = self._frame(WIDTH, HEIGHT, (LEFT, RIGHT, TOP, BOTTOM))
        parts = [
            svg.opening(WIDTH, HEIGHT, palette, title=self.title),
            svg.text(LEFT, TOP - 20, self.title, palette.text, size=16),
            svg.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, self.x_title, palette.text, anchor="middle"),
            svg.text(16, (TOP + HEIGHT - BOTTOM) / 2, self.y_title, palette.text, anchor="middle", turned=-90),
            *frame.grid(palette),
            *self._lines(frame, palette),
        ]
        for index, points in enumerate(self.series.values()):
            places = frame.places(points)
            parts.append(svg.curve(places, palette.of(index)))
            for (x, y), (_, value) in zip(places, points, strict=True):
                parts.append(svg.circle(x, y, 4, palette.of(index)))
                words = svg.number(value, self.percent[1], exact=True)
                parts.append(svg.text(x, y + 18, words, palette.text, anchor="middle", size=11))
        return "\n".join([*parts, "</svg>"]) + "\n"

    def small(self, palette: Palette) -> str:
        """The picture of a page, which says the titles itself (:func:`~.parts.chart`)."""
        frame = self._frame(*SMALL, SMALL_MARGINS)
        parts = [
            svg.opening(*SMALL, palette, title=f"{self.title}: {self.y_title} over {self.x_title}", size=12),
            svg.text(frame.right, SMALL[1] - 6, self.x_title, palette.faint, anchor="end"),
            *frame.grid(palette),
            *self._lines(frame, palette),
        ]
        for index, (title, points) in enumerate(self.series.items()):
            colour, places = palette.of(self.colours.get(title, index)), frame.places(points)
            parts.append(svg.curve(places, colour))
            last = svg.number(points[-1][1], self.percent[1], exact=True)
            parts.append(svg.circle(*places[-1], 3.5, colour, title=f"{title}: {last}"))
        return "\n".join([*parts, "</svg>"])

    def _frame(self, width: int, height: int, margins: tuple[int, int, int, int]) -> _Frame:
        left, right, top, bottom = margins
        xs = [x for points in self.series.values() for x, _ in points]
        ys = [y for points in self.series.values() for _, y in points]
        return _Frame(
            x_axis=Axis.over(xs, left, width - right),
            y_axis=Axis.over([*ys, *self.lines.values()], height - bottom, top, log=self.log),
            percent=self.percent,
        )

    def _lines(self, frame: _Frame, palette: Palette) -> list[str]:
        parts: list[str] = []
        for title, value in self.lines.items():
            y = frame.y_axis.at(value)
            parts.append(svg.line(frame.left, y, frame.right, y, palette.faint, dashed=True))
            parts.append(svg.text(frame.right, y - 6, title, palette.faint, anchor="end"))
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Points with names.

    Attributes:
        points: name -> (x, y).
        percent: whether the numbers of an axis are shares, x and y.
        colours: name -> number of the point's colour; by default they are counted.
    """

    title: str
    x_title: str
    y_title: str
    points: Mapping[str, tuple[float, float]]
    percent: tuple[bool, bool] = (False, True)
    colours: Mapping[str, int] = field(default_factory=dict)

    def small(self, palette: Palette) -> str:
        """The picture of a page. Names stand beside their points, where there is room, and else are left out."""
        width, height = SMALL
        left, right, top, bottom = SMALL_MARGINS
        ys = [y for _, y in self.points.values()]
        room = 0.15 * (max(ys) - min(ys))  # for names above and below
        frame = _Frame(
            x_axis=Axis.over([0.0, *(x for x, _ in self.points.values())], left, width - right),
            y_axis=Axis.over([min(ys) - room, max(ys) + room], height - bottom, top),
            percent=self.percent,
        )
        places = frame.places(list(self.points.values()))
        parts = [
            svg.opening(width, height, palette, title=f"{self.title}: {self.y_title} over {self.x_title}", size=12),
            svg.text(frame.right, height - 6, self.x_title, palette.faint, anchor="end"),
            *frame.grid(palette),
        ]
        taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in places]
        for index, (name, (x, y)) in enumerate(zip(self.points, places, strict=True)):
            value = svg.number(self.points[name][1], self.percent[1], exact=True)
            colour = palette.of(self.colours.get(name, index))
            parts.append(svg.circle(x, y, 6, colour, title=f"{name}: {value}"))
            if (place := _free_place(x, y, LETTER * len(name), taken, frame)) is not None:
                left, base, anchor = place
                parts.append(svg.text(left, base, name, palette.text, anchor=anchor))
        return "\n".join([*parts, "</svg>"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The two axes of a chart."""

    x_axis: Axis
    y_axis: Axis
    percent: tuple[bool, bool]

    @property
    def left(self) -> float:
        return self.x_axis.start

    @property
    def right(self) -> float:
        return self.x_axis.end

    def places(self, points: Points) -> list[tuple[float, float]]:
        return [(self.x_axis.at(x), self.y_axis.at(y)) for x, y in points]

    def grid(self, palette: Palette) -> list[str]:
        """Lines behind the curves, and the numbers at both axes."""
        bottom, parts = self.y_axis.start, []
        ticks = self.y_axis.ticks
        fine = self.percent[1] and len(ticks) > 1 and ticks[1] - ticks[0] < 0.01
        for y in ticks:
            place = self.y_axis.at(y)
            parts.append(svg.line(self.left, place, self.right, place, palette.grid))
            words = svg.number(y, self.percent[1], exact=fine)
            parts.append(svg.text(self.left - 8, place + 4, words, palette.faint, anchor="end"))
        for x in (tick for tick in self.x_axis.ticks if tick >= 0 or self.x_axis.low < -0.2 * self.x_axis.high):
            place = self.x_axis.at(x)
            parts.append(svg.line(place, bottom, place, bottom + 5, palette.faint))
            words = svg.number(x, self.percent[0])
            parts.append(svg.text(place, bottom + 18, words, palette.faint, anchor="middle"))
        return parts


def _free_place(
    x: float, y: float, width: float, taken: list[tuple[float, float, float, float]], frame: _Frame
) -> tuple[float, float, str] | None:
    """Where a name of this width can stand beside its point, and its anchor; it is taken then. None without room."""
    places = [(x + 11, y + 4, "start"), (x - 11, y + 4, "end")]
    for step in (-12, 20, -26, 34):
        places += [(x, y + step, "middle"), (x + 7, y + step, "end"), (x - 7, y + step, "start")]
    for place, base, anchor in places:
        left = place - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        box = (left, base - 11, left + width, base + 3)
        inside = frame.left <= box[0] and box[2] <= frame.right and box[1] >= 0 and box[3] <= frame.y_axis.start
        if inside and not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken
        ):
            taken.append(box)
            return place, base, anchor
    return None
