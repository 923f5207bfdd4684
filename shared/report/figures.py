"""Several networks side by side: one table, and pictures of accuracy over latency and work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .charts import Scatter
from .parts import Html, chart, duration, percent, table
from .svg import PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFigures:
    """What is known of a network; None where nobody measured it.

    Attributes:
        top1: 0 to 1.
        agreement: with the teacher, 0 to 1.
        macs: multiply-adds of one image.
        file_bytes: size of the weights, or of the file.
        latency_ms: median milliseconds of one forward pass.
        seconds: that it took to make it.
    """

    name: str
    top1: float | None = None
    agreement: float | None = None
    parameters: int | None = None
    macs: int | None = None
    file_bytes: int | None = None
    latency_ms: float | None = None
    seconds: float | None = None


def networks_table(networks: Sequence[NetworkFigures], *, latency_batch: int = 1) -> Html:
    """The table; sizes are compared with the first network, the teacher. Columns without any value are left out.

    Args:
        latency_batch: images in a forward pass.
    """
    first = networks[0]
    columns = {
        "top-1": [percent(each.top1) for each in networks],
        "agreement": [percent(each.agreement) for each in networks],
        "parameters": [_beside(each.parameters, first.parameters, each is first) for each in networks],
        "multiply-adds": [_beside(each.macs, first.macs, each is first) for each in networks],
        "size": [None if each.file_bytes is None else f"{each.file_bytes / 1e6:.3g} MB" for each in networks],
        _latency_title(latency_batch): [
            None if each.latency_ms is None else f"{each.latency_ms:.3g} ms" for each in networks
        ],
        "time to make": [duration(each.seconds) for each in networks],
    }
    known = {title: cells for title, cells in columns.items() if any(cell is not None for cell in cells)}
    rows = [[each.name, *(cells[i] for cells in known.values())] for i, each in enumerate(networks)]
    return table(("network", *known), rows, colours=range(len(networks)))


def networks_charts(networks: Sequence[NetworkFigures], *, latency_batch: int = 1) -> list[Html]:
    """Accuracy over latency, and over multiply-adds; each only where two networks or more have both."""
    colours = {each.name: number for number, each in enumerate(networks)}
    costs = {
        ("latency", f"milliseconds for {_images(latency_batch)}"): {each.name: each.latency_ms for each in networks},
        ("work", "million multiply-adds of an image"): {
            each.name: None if each.macs is None else each.macs / 1e6 for each in networks
        },
    }
    charts: list[Html] = []
    for (what, x_title), cost in costs.items():
        pairs = [(each.name, cost[each.name], each.top1) for each in networks]
        points = {name: (x, y) for name, x, y in pairs if x is not None and y is not None}
        if len(points) > 1:
            drawn = Scatter(title="networks", x_title=x_title, y_title="top-1", points=points, colours=colours)
            charts.append(chart(drawn.small(PAGE), title=f"top-1 over {what}: up and left is better"))
    return charts


def _beside(size: int | None, whole: int | None, alone: bool) -> str | None:
    if size is None:
        return None
    return f"{size:,}" if alone or not whole else f"{size:,} ({size / whole:.3g} x)"


def _latency_title(batch: int) -> str:
    return f"time for {_images(batch)}"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
