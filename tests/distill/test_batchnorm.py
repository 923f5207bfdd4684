"""BatchNorm over the rows of several processes against torch's own over all rows, in float64, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, distributed, nn

from dreamdistill.distill.batchnorm import GlobalBatchNorm
from dreamdistill.distill.distributed import joined, torchrun_place
from dreamdistill.shared.core.launch import Rows

PROCESSES, ROWS, CHANNELS = 2, 5, 3  # three rows and two


def layers() -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {
        "plain": nn.BatchNorm2d(CHANNELS),
        "cumulative": nn.BatchNorm2d(CHANNELS, momentum=None),
        "without weights": nn.BatchNorm2d(CHANNELS, affine=False),
        "without statistics": nn.BatchNorm2d(CHANNELS, track_running_stats=False),
        "inference": nn.BatchNorm2d(CHANNELS).eval(),
    }
    try:
        from timm.layers.norm_act import BatchNormAct2d
    except ImportError:
        return found
    return {**found, "with timm's activation": BatchNormAct2d(CHANNELS, inplace=False)}


def results(layer: nn.Module, x: Tensor, grad: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers after two passes; the gradients of weights are sums over the rows."""
    layer(x)  # updates the running statistics a first time
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(grad)
    assert x.grad is not None
    weights = {f"d{name}": p.grad for name, p in layer.named_parameters() if p.grad is not None}
    return {"y": y.detach(), "dx": x.grad, **weights, **dict(layer.named_buffers())}


def main() -> None:
    """The work of each process."""
    with joined(torchrun_place(), torch.device("cpu")) as group:
        compare(Rows.of(ROWS, group.place))
    print("ok")


def compare(rows: Rows) -> None:
    """Compare a process's rows with the same rows of the whole batch."""
    torch.manual_seed(0)
    # Far from 0, where a variance computed from the mean of squares loses its digits.
    x = 1e4 + torch.randn(ROWS, CHANNELS, 4, 4, dtype=torch.float64)
    grad = torch.randn_like(x)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for (name, whole), part in zip(layers().items(), layers().values(), strict=True):
            weights = [torch.randn_like(p) for p in whole.parameters()]
            for layer in (whole.double(), part.double()):
                for p, value in zip(layer.parameters(), weights, strict=True):
                    p.data.copy_(value)
            expected = results(whole, x.to(memory_format=memory_format), grad)
            own = [rows.take(t).contiguous(memory_format=memory_format) for t in (x, grad)]
            with GlobalBatchNorm():
                found = results(part, own[0], own[1])
            assert found.keys() == expected.keys(), name
            for key, value in found.items():
                if key in ("y", "dx"):
                    expected[key] = rows.take(expected[key])
                elif key.startswith("d"):
                    distributed.all_reduce(value)
                torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=1e-7, msg=f"{name}: {key}")


@pytest.mark.skipif(os.name != "posix", reason="torchrun needs gloo")
def test_it_equals_batchnorm_over_all_rows() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(PROCESSES), __file__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("ok") == PROCESSES


if __name__ == "__main__":
    main()
