"""What a layer of an odd width costs beside one of the next multiple of 8: why ``--round-to auto`` is what it is.

    python tests/benchmarks/bench_widths.py --json

For each layer it prints the milliseconds by width, and ``odd_over_even``: the median, over the widths between two
multiples of 8, of the time by the time at the upper multiple. Below 1, odd widths save time; from 1 on, the channels
beyond the lower multiple of 8 cost as much as all eight, and rounding up is free.
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch

from dreamdistill.prune.units import Latency
from dreamdistill.shared.core.device import pick_device
from dreamdistill.shared.structure.layers import LayerShape

# Side in pixels, inputs, the lower multiple of 8, images.
LAYERS = ((32, 16, 8, 1), (32, 16, 8, 32), (16, 32, 24, 1), (16, 32, 24, 32), (14, 256, 248, 1), (14, 256, 248, 32))
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    found = {f"{side} px, {inputs} inputs, batch {batch}": measure(side, inputs, low, batch, device)
             for side, inputs, low, batch in LAYERS}  # fmt: skip
    if options.json:
        print(json.dumps({"threads": torch.get_num_threads(), "device": device.type, "layers": found}))
        return
    for title, layer in found.items():
        print(f"{title}: {layer['odd_over_even']:.2f}")


def measure(side: int, inputs: int, low: int, batch: int, device: torch.device) -> dict[str, object]:
    """A 3x3 convolution at all widths from one multiple of 8 to the next, in turn."""
    times: dict[int, list[float]] = {width: [] for width in range(low, low + 9)}
    for _ in range(ROUNDS):
        clock = Latency(batch=batch, device=device)  # it times a shape once
        for width, own in times.items():
            shape = LayerShape(kind="conv", inputs=inputs, outputs=width, kernel_size=(3, 3), size=(side, side))
            own.append(clock.layer(shape))
    medians = {width: statistics.median(own) for width, own in times.items()}
    between = [medians[width] / medians[low + 8] for width in range(low + 1, low + 8)]
    return {"odd_over_even": round(statistics.median(between), 3), "ms": {n: round(ms, 4) for n, ms in medians.items()}}


if __name__ == "__main__":
    main()
