"""A chart is XML that shows all points within the picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from dreamdistill.shared.cli.chart import HEIGHT, WIDTH, LineChart

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    "points", [[(0.1, 0.2), (0.5, 0.9), (1.0, 0.95)], [(1.0, 0.5), (2.0, 0.5)], [(0.0, -1e9), (1e-9, 1e9)]]
)
def test_all_points_lie_in_the_picture(points: list[tuple[float, float]]) -> None:
    chart = LineChart(title="a <b> & c", x_title="x", y_title="y", points=points, lines={"teacher": points[-1][1]})
    picture = ElementTree.fromstring(chart.svg())
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"a <b> & c", "x", "y", "teacher"} <= set(texts)
    (curve,) = picture.iter(f"{SVG}polyline")
    places = [tuple(map(float, place.split(","))) for place in curve.attrib["points"].split()]
    assert len(places) == len(points)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    for (_, y), (_, value) in zip(places[1:], points[1:], strict=True):
        assert (y < places[0][1]) == (value > points[0][1])  # pixels are counted from the top


def test_a_single_value_is_no_division_by_zero() -> None:
    chart = LineChart(title="t", x_title="x", y_title="y", points=[(0.0, 0.0), (0.0, 0.0)], lines={})
    assert ElementTree.fromstring(chart.svg()).tag == f"{SVG}svg"
