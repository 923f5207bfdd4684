"""A network that tells what its modules read and write, in one forward pass."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn


class Hooked:
    """A network whose modules tell of their inputs and outputs, in one forward pass.

    Calls get the name of the module ahead of what torch's hooks get.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.modules = dict(network.named_modules())
        self._hooks = ExitStack()

    def before(self, name: str, call: Any) -> None:
        self._hooks.callback(self.modules[name].register_forward_pre_hook(partial(call, name)).remove)

    def after(self, name: str, call: Any) -> None:
        self._hooks.callback(self.modules[name].register_forward_hook(partial(call, name)).remove)

    def run(self, x_NCHW: Tensor) -> None:
        """The forward pass. The network has no hooks of this object afterwards."""
        with self._hooks:
            self.network(x_NCHW)
