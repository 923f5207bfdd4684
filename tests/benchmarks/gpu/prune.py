"""GPU day, part e: ``di-prune`` of a ResNet-50 with random weights, and the latency before and after.

The repair is a few steps long, since accuracy has no meaning here. Latency is measured in turn: eager in float32, as
the command's report has it, and in bfloat16 as a CUDA graph, where launching kernels costs nothing.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from gpu.part import Run, noise_shards, run_part, without_host_syncs
from torch import Tensor, nn

from dreamdistill.prune import stage
from dreamdistill.prune.config import PruneConfig
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.cost import paired_latency_ms, paired_seconds

BATCHES = 1, 64


def measure(run: Run) -> None:
    name, images, batch_size = ("digits_cnn", 8, 4) if run.rehearse else ("resnet50", 128, 32)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shards = noise_shards(folder / "shards", teacher=name, images=images, device=run.device)
        changes = {"epochs": 1, "batch_size": batch_size, "loader": "webdataset"}
        config = PruneConfig(
            shards=shards, iterations=1, changes=changes, out=folder / "pruned", device=str(run.device)
        )
        report = asdict(stage.run(config))
        run.write(network=name, report=report)
        networks = [load_model(name, weights="none", device=run.device), load_model(str(config.out), device=run.device)]
    rounds = 3 if run.rehearse else 30
    latency: dict[str, dict[str, list[float]]] = {"eager_float32": {}}
    for count in (2,) if run.rehearse else BATCHES:
        x_NCHW = torch.randn_like(networks[0].preprocessing.blank(count, run.device))
        found = eager_latency_ms([each.network for each in networks], x_NCHW, rounds)
        latency["eager_float32"][f"batch {count}"] = found
        if run.device.type == "cuda":
            graphs = latency.setdefault("graph_bfloat16", {})
            graphs[f"batch {count}"] = graph_latency_ms([each.network for each in networks], x_NCHW, rounds)
        run.write(latency_ms_before_and_after=latency)
    shares = f"{report['filters_after']} of {report['filters_before']} filters"
    for form, by_batch in latency.items():
        times = "; ".join(f"{batch}: {before} -> {after} ms" for batch, (before, after) in by_batch.items())
        run.write(f"{shares}, {form}, {times}")


def eager_latency_ms(networks: Sequence[nn.Module], x_NCHW: Tensor, rounds: int) -> list[float]:
    """Median milliseconds of one forward pass of each network."""
    found = without_host_syncs(lambda: paired_latency_ms(networks, x_NCHW, rounds=rounds), x_NCHW.device)
    return [round(milliseconds, 4) for milliseconds in found]


@torch.no_grad()
def graph_latency_ms(networks: Sequence[nn.Module], x_NCHW: Tensor, rounds: int) -> list[float]:
    """Median milliseconds of one forward pass in bfloat16, each network captured as a CUDA graph."""
    calls: list[Callable[[], object]] = []
    kept: list[object] = []  # a graph does not keep the weights that it reads
    x_NCHW = x_NCHW.bfloat16().contiguous(memory_format=torch.channels_last)
    for each in networks:
        network = copy.deepcopy(each).bfloat16().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # a capture needs warm kernels, and a stream of its own
            for _ in range(3):
                network(x_NCHW)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits_NK = network(x_NCHW)
        kept += [network, logits_NK]
        calls.append(graph.replay)
    device = x_NCHW.device
    found = without_host_syncs(lambda: paired_seconds(calls, device=device, rounds=rounds), device)
    return [round(1e3 * seconds, 4) for seconds in found]


if __name__ == "__main__":
    run_part(measure)
