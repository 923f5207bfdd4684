"""A confusion matrix as an SVG heat map: what is right in one colour, mistakes in another, each class a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import svg
from .svg import Palette

SIDE = 360  # pixels of the picture
NUMBERED = 12  # classes, up to which each cell bears its number
LABEL = 9  # letters of a class's name
RIGHT_COLOUR, WRONG_COLOUR = 0, 1  # of the palette
STRONG = 0.55  # opacity from which a number on it is light


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """What a heat map shows.

    Attributes:
        counts: a row of images for each true class, by the class that was answered.
        labels: one for each class.
    """

    title: str
    counts: Sequence[Sequence[int]]
    labels: Sequence[str]

    def small(self, palette: Palette) -> str:
        """The picture of a page."""
        classes = len(self.counts)
        short = [label if len(label) <= LABEL else f"{label[: LABEL - 1]}…" for label in self.labels]
        margin = 14 + 6.4 * max(map(len, short))
        cell = (SIDE - margin - 4) / classes
        worst = max((self._share(t, p) for t in range(classes) for p in range(classes) if t != p), default=0.0)
        parts = [svg.opening(SIDE, SIDE, palette, title=self.title, size=min(12, max(6, int(0.8 * cell))))]
        for true in range(classes):
            middle = margin + (true + 0.5) * cell
            parts.append(svg.text(margin - 6, middle + 4, short[true], palette.faint, anchor="end"))
            turned = -90 if max(map(len, short)) > 2 else 0
            x, anchor = (middle + 4, "start") if turned else (middle, "middle")
            parts.append(svg.text(x, margin - 6, short[true], palette.faint, anchor=anchor, turned=turned))
            for answered in range(classes):
                parts += self._cell(true, answered, margin, cell, worst, palette)
        return "\n".join([*parts, "</svg>"])

    def _cell(self, true: int, answered: int, margin: float, cell: float, worst: float, palette: Palette) -> list[str]:
        count, right = self.counts[true][answered], true == answered
        share = self._share(true, answered)
        opacity = 0.0 if not count else 0.1 + 0.8 * share if right else 0.25 + 0.65 * share / worst
        x, y = margin + answered * cell, margin + true * cell
        words = f"{self.labels[true]} answered as {self.labels[answered]}: {count:,}"
        place = f'x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}" rx="2"'
        colour = palette.of(RIGHT_COLOUR if right else WRONG_COLOUR)
        fill = f'fill="{colour}" fill-opacity="{opacity:.2f}"' if count else f'fill="{palette.grid}" fill-opacity="0.4"'
        parts = [f"<rect {place} {fill}><title>{svg.safe(words)}</title></rect>"]
        if count and len(self.counts) <= NUMBERED:
            ink = palette.strong if opacity >= STRONG else palette.text
            parts.append(svg.text(x + cell / 2, y + cell / 2 + 4, f"{count}", ink, anchor="middle", size=10))
        return parts

    def _share(self, true: int, answered: int) -> float:
        return self.counts[true][answered] / (sum(self.counts[true]) or 1)
