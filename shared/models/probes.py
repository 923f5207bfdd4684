"""What a network computes, in a few numbers: its logits for four fixed images, the probes.

The sha256 of the weights does not know the code around them: another activation, or a flag of the architecture, leaves
all weights as they are. The probes notice it. They are noise from a hash function, so that they are the same on every
platform and in every version of the libraries; two of them are noise of an eighth of the resolution, enlarged, since
convolutions average out noise of single pixels.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, one_line
from .identity import Probes, computes_the_same
from .preprocessing import Preprocessing

FINE, COARSE = 2, 2  # probes of full resolution, and of a lower one
COARSENESS = 8  # pixels, side of a square of one colour
DIGITS = 6  # significant digits that are kept of a logit


def probe_images(preprocessing: Preprocessing) -> Tensor:
    """The probes as pixels, uint8 (4, C, H, W)."""
    size, channels = preprocessing.image_size, preprocessing.channels
    fine_NCHW = _noise("fine", FINE, channels, size)
    coarse_NCHW = _noise("coarse", COARSE, channels, -(-size // COARSENESS))
    nearest = torch.arange(size) // COARSENESS
    return torch.cat([fine_NCHW, coarse_NCHW[:, :, nearest][:, :, :, nearest]])


def probe_logits(network: nn.Module, preprocessing: Preprocessing, *, title: str) -> Probes:
    """The logits of the probes, in float32 and eval mode, wherever the network is. It is left as it was.

    Raises:
        ConfigError: the network raises an error, or its logits are no finite numbers or not the same each time.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    x_NCHW = preprocessing.normalize(probe_images(preprocessing).to(device))
    with _plain_arithmetic(network, device):
        try:
            # One at a time, which takes the least memory. Then two together, to notice what depends on the batch.
            logits_NK = torch.cat([network(x_1CHW) for x_1CHW in x_NCHW.split(1)]).double().cpu()
            again_2K = network(x_NCHW[:2]).double().cpu()
        except Exception as error:  # the user's own code
            raise ConfigError(f"{title} does not take images of noise: {one_line(error)}") from error
    if not torch.isfinite(logits_NK).all():
        raise ConfigError(
            f"{title} gives logits that are no finite numbers for images of noise: check its weights, --mean and --std"
        )
    found = _rounded(logits_NK)
    if not computes_the_same((*_rounded(again_2K), *found[2:]), found):
        raise ConfigError(
            f"{title} gives other logits for the same image the second time, so nothing tells it from another network:"
            " its forward must not be random in eval mode, nor mix the images of a batch"
        )
    return found


def count_outputs(network: nn.Module, preprocessing: Preprocessing, name: str) -> int:
    """Number of classes: the width of the logits of one blank image.

    Raises:
        ConfigError: the network does not take such an image, or its output is not (N, K) logits.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    size = preprocessing.image_size
    try:
        with torch.no_grad():
            logits_NK = network(preprocessing.blank(1, device))
    except Exception as error:  # a network checks its input as it likes
        raise ConfigError(
            f"{name} does not take {size}x{size} images of {preprocessing.channels} channels:"
            f" {one_line(error)}; check --image-size, --mean and --std"
        ) from error
    if not isinstance(logits_NK, Tensor) or logits_NK.ndim != 2:
        raise ConfigError(f"{name} does not return (N, K) logits, so it is not a classifier that can be inverted")
    return logits_NK.shape[1]


def check_training_mode(network: nn.Module, preprocessing: Preprocessing, *, title: str) -> None:
    """Refuse a network whose output in training mode is not one tensor of logits. It is left as it was.

    Raises:
        ConfigError: it is not, or the network raises an error.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            outputs = copy.deepcopy(network).train()(preprocessing.blank(2, device))
    except Exception as error:  # the user's own code
        raise ConfigError(f"{title} does not work in training mode: {one_line(error)}") from error
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise ConfigError(
            f"{title} returns something else than (N, K) logits in training mode: leave out its auxiliary heads, as"
            " by aux_logits=False"
        )


def _noise(kind: str, count: int, channels: int, side: int) -> Tensor:
    """Uniform bytes, (count, channels, side, side)."""
    size = count * channels * side * side
    data = bytearray(hashlib.shake_256(f"dreamdistill {kind} probe".encode()).digest(size))
    return torch.frombuffer(data, dtype=torch.uint8).reshape(count, channels, side, side)


def _rounded(logits_NK: Tensor) -> Probes:
    return tuple(tuple(float(f"{value:.{DIGITS}g}") for value in row) for row in logits_NK.tolist())


@contextlib.contextmanager
def _plain_arithmetic(network: nn.Module, device: torch.device) -> Iterator[None]:
    """A network in eval mode, without gradients, and float32 as exact as the device has it; all put back at the end.

    A network that draws random numbers does not change those that the caller draws next.
    """
    modes = {module: module.training for module in network.modules()}
    precision = torch.get_float32_matmul_precision()
    devices = [device] if device.type == "cuda" else []
    cudnn = torch.backends.cudnn
    try:
        torch.set_float32_matmul_precision("highest")
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=devices),
            torch.autocast(device.type, enabled=False),
            cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            network.eval()
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for module, training in modes.items():
            module.training = training
