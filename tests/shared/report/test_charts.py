"""A chart is XML that shows all points within the picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from dreamdistill.shared.report.charts import HEIGHT, WIDTH, LineChart, Scatter
from dreamdistill.shared.report.heatmap import HeatMap
from dreamdistill.shared.report.svg import PAGE

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    "points", [[(0.1, 0.2), (0.5, 0.9), (1.0, 0.95)], [(1.0, 0.5), (2.0, 0.5)], [(0.0, -1e9), (1e-9, 1e9)]]
)
def test_all_points_lie_in_the_picture(points: list[tuple[float, float]]) -> None:
    chart = LineChart(
        title="a <b> & c", x_title="x", y_title="y", series={"curve": points}, lines={"teacher": points[-1][1]}
    )
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
    chart = LineChart(title="t", x_title="x", y_title="y", series={"": [(0.0, 0.0), (0.0, 0.0)]})
    assert ElementTree.fromstring(chart.svg()).tag == f"{SVG}svg"


def test_a_logarithmic_chart_of_a_page_has_a_curve_for_each_series() -> None:
    series = {"a": [(1.0, 5000.0), (2.0, 80.0)], "b <": [(1.0, 0.5), (3.0, 0.25)]}
    chart = LineChart(title="t", x_title="epochs", y_title="loss", series=series, percent=(False, False), log=True)
    picture = ElementTree.fromstring(chart.small(PAGE))
    assert len(list(picture.iter(f"{SVG}polyline"))) == 2
    assert {"1", "1,000"} <= {text.text for text in picture.iter(f"{SVG}text")}


@pytest.mark.parametrize("values", [(0.9, 0.9), (0.1, 0.99)])
def test_names_of_a_scatter_do_not_lie_upon_one_another(values: tuple[float, float]) -> None:
    points = {f"network {n}": (1.0 + n / 100, values[n % 2]) for n in range(8)}
    drawn = Scatter(title="t", x_title="ms", y_title="top-1", points=points).small(PAGE)
    picture = ElementTree.fromstring(drawn)
    assert len(list(picture.iter(f"{SVG}circle"))) == 8
    places = [t.attrib for t in picture.iter(f"{SVG}text") if (t.text or "").startswith("network")]
    assert 1 <= len(places) <= 8
    assert len({(place["x"], place["y"]) for place in places}) == len(places)


@pytest.mark.parametrize("classes", [1, 3, 20])
def test_a_heat_map_has_a_cell_for_each_pair(classes: int) -> None:
    counts = [[classes * (t == a) + (a == 0) for a in range(classes)] for t in range(classes)]
    heat = HeatMap(title="<t>", counts=counts, labels=[f"<class> {n}" for n in range(classes)])
    picture = ElementTree.fromstring(heat.small(PAGE))
    assert len(list(picture.iter(f"{SVG}rect"))) == classes**2
