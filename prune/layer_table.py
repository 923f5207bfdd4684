"""The table of a network's layers before and after pruning, for people and spreadsheets."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from torch import nn

from ..shared.core.files import write_text
from ..shared.models.dropped import dropped_blocks, is_part
from ..shared.structure.groups import ChannelGroup
from ..shared.structure.layers import LayerShape, layer_shapes
from .job import PruneJob
from .planning import PruningPlan
from .units import COUNTED

LAYERS = "layers.csv"
COLUMNS = (
    "layer",
    "kind",
    "inputs_before",
    "inputs_after",
    "outputs_before",
    "outputs_after",
    "macs_before",
    "macs_after",
    "ms_before",
    "ms_after",
    "tied_to",
    "why_kept",
)


def write_layers(path: Path, job: PruneJob, plan: PruningPlan, network: nn.Module) -> None:
    """Write the table as CSV: one line for each convolution and linear layer, in the order of execution.

    A layer that is gone has 0 channels. ``ms`` is the time of the layer alone, for the latency batch. ``tied_to``
    has the layers whose outputs are the same channels, and ``why_kept`` says why a layer is as wide as before.

    Args:
        network: what is left of the teacher.
    """
    before = layer_shapes(job.teacher.network, job.example_NCHW)
    after = layer_shapes(network, job.example_NCHW)
    writers = {layer: group for group in plan.found for layer in group.outputs}
    dropped = dropped_blocks(network)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for name, shape in before.items():
        if shape.kind == "norm":
            continue
        left = None if is_part(name, dropped) else after.get(name)
        group = writers.get(name)
        tied = [] if group is None else [each for each in group.outputs if each in before and each != name]
        table.writerow(
            (
                name,
                shape.kind,
                shape.inputs,
                left.inputs if left else 0,
                shape.outputs,
                left.outputs if left else 0,
                round(COUNTED["macs"].layer(shape)),
                round(COUNTED["macs"].layer(left)) if left else 0,
                round(job.clock.layer(shape), 4),
                round(job.clock.layer(left), 4) if left else 0,
                " ".join(each for each in tied if before[each].kind != "norm"),
                _why_kept(shape, left, group, plan),
            )
        )
    write_text(path, text.getvalue())


def _why_kept(shape: LayerShape, left: LayerShape | None, group: ChannelGroup | None, plan: PruningPlan) -> str:
    if left is None or left.outputs < shape.outputs:
        return ""
    if shape.is_head:
        return "its outputs are the classes"
    if group is None:
        return "its outputs cannot be traced, or are tied to what cannot be narrowed"
    if group.name in plan.left_out:
        return "the network does not work without a part of it"
    return "worth more than what went" if group.name in plan.floors else "--keep or --only"
