"""The positions of feature maps at which two networks are compared, and the inputs that a layer reads there."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 16384  # samples of a layer: several for each of its unknowns


class Samples:
    """Random positions, the same for all maps of one size.

    Args:
        rows: samples of a layer at least, where the maps have as many positions.
        seed: of the positions.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._places: dict[tuple[int, ...], Tensor] = {}

    def places(self, maps: int, size: tuple[int, ...]) -> Tensor:
        """(maps, positions) indices into so many flattened maps of this size.

        There may be more maps than images: windows of an image may be a batch of their own.
        """
        key = (maps, *size)
        if key not in self._places:
            count, total = -(-self._rows // maps), torch.Size(size).numel()
            draw = torch.Generator().manual_seed(self._seed)
            if total <= count:
                chosen = torch.arange(total).expand(maps, -1)
            else:
                chosen = torch.rand(maps, total, generator=draw).topk(count, dim=1).indices
            self._places[key] = chosen
        return self._places[key]

    def of(self, module: nn.Module, x: Tensor) -> Tensor:
        """(N, positions, channels) of a module's input or output: (N, C, H, W), or (N, ..., C) of a linear layer."""
        if isinstance(module, nn.Linear) or x.ndim != 4:
            tokens_NTC = x.reshape(x.shape[0], -1, x.shape[-1])
            places = self.places(len(x), (tokens_NTC.shape[1],)).to(x.device)
            return tokens_NTC.gather(1, places[:, :, None].expand(-1, -1, x.shape[-1]))
        places = self.places(len(x), tuple(x.shape[2:])).to(x.device)
        return x.flatten(2).gather(2, places[:, None].expand(-1, x.shape[1], -1)).transpose(1, 2)


def patches(module: nn.Module, x: Tensor, samples: Samples, out: Tensor) -> Tensor | None:
    """(N * positions, groups, columns of the weight) inputs of a convolution or linear layer at the sampled positions.

    Args:
        x: the layer's input.
        out: (N, positions, outputs) what it computes of that. The patches must explain it.

    Returns:
        None where the layer computes something else, as one that pads in a way of its own may.
    """
    if isinstance(module, nn.Linear):
        found = samples.of(module, x).flatten(0, 1)[:, None]
    else:
        assert isinstance(module, nn.Conv2d)
        found = _windows(module, x, samples)
    expected = out.flatten(0, 1)
    difference = (computed_of(module, found) - expected).abs().max()
    return found if difference <= 1e-3 * expected.abs().max() else None


def computed_of(module: nn.Module, columns: Tensor) -> Tensor:
    """(N * positions, outputs) of a layer for its inputs as :func:`patches` returns them."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    bias: Tensor | None = module.bias  # type: ignore[assignment]
    weight_GOD = weight.reshape(columns.shape[1], -1, columns.shape[2])
    out = torch.einsum("sgd,god->sgo", columns, weight_GOD).flatten(1)
    return out if bias is None else out + bias


def _windows(module: nn.Conv2d, x_NCHW: Tensor, samples: Samples) -> Tensor:
    height, width = (_span(module, x_NCHW, axis) for axis in (0, 1))
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = F.pad(x_NCHW, (*width[:2], *height[:2]), mode=mode)
    rows, columns = height[2], width[2]
    places_NS = samples.places(len(x_NCHW), (rows, columns)).to(x_NCHW.device)
    tops, lefts = (places_NS // columns) * module.stride[0], (places_NS % columns) * module.stride[1]
    down = torch.arange(module.kernel_size[0], device=x_NCHW.device) * module.dilation[0]
    right = torch.arange(module.kernel_size[1], device=x_NCHW.device) * module.dilation[1]
    index = (tops[:, :, None, None] + down[:, None]) * padded.shape[3] + lefts[:, :, None, None] + right
    N, C = x_NCHW.shape[:2]
    flat = index.reshape(N, 1, -1).expand(-1, C, -1)
    taken = padded.flatten(2).gather(2, flat).view(N, module.groups, C // module.groups, places_NS.shape[1], -1)
    return taken.permute(0, 3, 1, 2, 4).reshape(N * places_NS.shape[1], module.groups, -1)


def _span(module: nn.Conv2d, x_NCHW: Tensor, axis: int) -> tuple[int, int, int]:
    """Padding before and behind, and the size of the output, along one axis."""
    size, stride = x_NCHW.shape[2 + axis], module.stride[axis]
    reach = module.dilation[axis] * (module.kernel_size[axis] - 1) + 1
    same = type(module).__name__ == "Conv2dSame" or module.padding == "same"
    if same:  # TensorFlow's, which pads less before than behind
        count = -(-size // stride)
        total = max((count - 1) * stride + reach - size, 0)
        return total // 2, total - total // 2, count
    pad = 0 if isinstance(module.padding, str) else module.padding[axis]
    return pad, pad, (size + 2 * pad - reach) // stride + 1
