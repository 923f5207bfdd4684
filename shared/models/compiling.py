"""Functions that run networks, through ``torch.compile`` where that pays: another cost, the same results."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from ..core.errors import one_line
from .cost import MACS_PER_SECOND

F = TypeVar("F", bound=Callable[..., Any])
Log = Callable[[str], None]

# Compiling takes 20 to 60 seconds and saves about half of an eager step, so it pays from two minutes of eager work on.
REPAID_FROM_MACS = {kind: 120 * rate for kind, rate in MACS_PER_SECOND.items()}  # of forward passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """Compiles functions: one graph for each shape of their first argument, with CUDA graphs on CUDA.

    The first call for a shape compiles forward and backward pass, and logs how long that took. torch keeps the result
    on disk for other processes (``TORCHINDUCTOR_CACHE_DIR``). If the compiler fails, the function runs as it is from
    then on.

    Attributes:
        log: called with a line for the user.
        shapes: how many shapes to compile for, in the order in which they come; others run as they are. None is all.
    """

    device: torch.device
    log: Log
    shapes: int | None = None

    def __call__(self, function: F, title: str, *, trains: nn.Module | None = None) -> F:
        """The function, compiled when it is called.

        Args:
            function: of tensors, and of sequences of them.
            title: what it is, for the log.
            trains: the module whose parameters get their gradients by it.
        """
        fast = torch.compile(
            function,
            fullgraph=True,
            dynamic=False,
            # Random numbers as without the compiler, as of a Dropout. A mode would leave no options.
            options={"fallback_random": True, "triton.cudagraphs": self.device.type == "cuda"},
        )
        ready: dict[torch.Size, Callable[..., Any]] = {}

        def prepare(*arguments: Any) -> Callable[..., Any]:
            if self.shapes is not None and len(ready) >= self.shapes:
                return function
            started = time.monotonic()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # from the compiler; a user can do nothing about them
                    _try(fast, arguments, trains)
            except Exception as error:
                self.log(f"torch.compile failed ({one_line(error)}); going on without it, which is slower")
                return function
            self.log(f"compiled {title} for {tuple(arguments[0].shape)} in {time.monotonic() - started:.0f} s")
            return fast

        def call(*arguments: Any) -> Any:
            shape = arguments[0].shape
            if shape not in ready:
                ready[shape] = prepare(*arguments)
            return ready[shape](*arguments)

        return call  # type: ignore[return-value]


def compiled_networks(networks: Sequence[nn.Module], device: torch.device, log: Log) -> list[Callable[[Tensor], Any]]:
    """Forward passes of the networks without gradients, compiled at their first call: to time them as they will run.

    What the process compiled before is compiled again when it is next called: torch keeps the graphs of eight networks
    at most. So only the networks of the last call are compiled at any time.

    Args:
        networks: on the device, in eval mode.
        log: see :class:`Compiler`.
    """
    torch.compiler.reset()
    compiler = Compiler(device=device, log=log)

    def forward_of(network: nn.Module) -> Callable[[Tensor], Any]:
        def forward(x_NCHW: Tensor) -> Any:
            return network(x_NCHW)

        return forward

    return [compiler(forward_of(network.eval()), "a network that is timed") for network in networks]


def _try(fast: Callable[..., Any], arguments: tuple[Any, ...], trains: nn.Module | None) -> None:
    """Forward and backward pass, which leave the module and the random generators as they were."""
    copies: dict[int, Tensor] = {}  # a tensor that is given twice stays one

    def copied(tensor: Tensor) -> Tensor:
        return copies.setdefault(id(tensor), tensor.detach().clone().requires_grad_(tensor.requires_grad))

    buffers = [(buffer, buffer.clone()) for buffer in trains.buffers()] if trains is not None else []
    devices = {tensor.device for tensor in tree_leaves(arguments) if isinstance(tensor, Tensor) and tensor.is_cuda}
    try:
        with torch.random.fork_rng(devices):
            outputs = tree_leaves(fast(*tree_map_only(Tensor, copied, arguments)))
            sums = [out.sum() for out in outputs if isinstance(out, Tensor) and out.requires_grad]
            if sums:
                torch.autograd.backward(sums)
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        for parameter in trains.parameters() if trains is not None else ():
            parameter.grad = None
