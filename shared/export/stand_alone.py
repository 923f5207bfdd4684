"""A Python file that builds the very network with torch alone, a pruned one too, for weights as a state_dict.

The network is traced by torch.fx. The file has its layers under their own names, so that the keys of the state_dict are
those of the network in this project, and one forward method.
"""

from __future__ import annotations

import builtins
import io
import pprint
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core.errors import ConfigError, one_line
from .deployed import Deployed

_TEMPLATE = '''\
"""{title}

Written by dreamdistill. It needs torch alone:

    from {module} import load

    network = load("{weights}")  # in eval mode
    logits = network(images)  # {input}
"""

import torch
from torch import device, inf, nan, nn

METADATA = {metadata}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        def add(name, layer, persistent=True):
            owner, (*containers, own) = self, name.split(".")
            for container in containers:
                if not hasattr(owner, container):
                    owner.add_module(container, nn.Module())
                owner = getattr(owner, container)
            if isinstance(layer, nn.Module):
                owner.add_module(own, layer)
            elif isinstance(layer, nn.Parameter):
                owner.register_parameter(own, layer)
            else:
                owner.register_buffer(own, layer, persistent)

{layers}

{forward}


def load(file):
    network = Network()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval()
'''
_INSTEAD = "--format onnx or pt2 may work"
_KNOWN = ("torch", "device", "inf", "nan")  # names that the file imports
_MOST_NUMBERS = 2**12  # of a tensor that is written into the file


def state_dict_bytes(deployed: Deployed) -> bytes:
    """The weights, as ``torch.load(file, weights_only=True)`` reads them."""
    file = io.BytesIO()
    torch.save({key: value.clone() for key, value in deployed.network.state_dict().items()}, file)
    return file.getvalue()


def source_of(deployed: Deployed, *, module: str, weights: str) -> str:
    """The Python file.

    Args:
        module: its name, without ``.py``.
        weights: name of the file with the state_dict.

    Raises:
        ConfigError: torch.fx cannot trace the network, or it has something that torch alone does not build.
    """
    try:
        traced = fx.symbolic_trace(deployed.network)
    except Exception as error:  # the user's own code
        raise ConfigError(
            f"no Python file can be written of this network, since torch.fx cannot trace it ({one_line(error)});"
            f" {_INSTEAD}"
        ) from error
    layers = _Layers(traced, deployed.network.state_dict(keep_vars=True))
    for node in traced.graph.nodes:
        node.type = None  # else the code has annotations, whose names would be missing
        if node.op == "call_module":
            layers.add_module(str(node.target))
        elif node.op == "get_attr":
            layers.add_tensor(str(node.target))
    layers.add_unused()
    code = traced.graph.python_code("self")
    for name in code.globals:
        if name not in _KNOWN and not hasattr(builtins, name) and re.search(rf"\b{re.escape(name)}\b", code.src):
            raise ConfigError(f"no Python file can be written of this network: it calls {name}; {_INSTEAD}")
    forward = re.sub(r";  [\w, =]+ = None", "", code.src.strip())  # with which fx frees memory early
    return _TEMPLATE.format(
        title=" ".join(deployed.title.split()).replace("\\", "/").replace('"', "'"),
        module=module,
        weights=weights,
        input=deployed.metadata["input"],
        metadata=pprint.pformat(deployed.metadata, width=100, sort_dicts=False),
        layers="\n".join(f"        {line}" for line in layers.lines),
        forward="\n".join(f"    {line}".rstrip() for line in forward.splitlines()),
    )


def network_of(source: str, state: bytes) -> nn.Module:
    """What a file of :func:`source_of` builds, with its weights."""
    names: dict[str, Any] = {"__name__": "stand_alone"}
    exec(compile(source, "stand_alone.py", "exec"), names)  # it was written by source_of
    network = names["Network"]()
    network.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
    return network.eval()


class _Layers:
    """The lines that build what a forward pass uses, each layer once, in containers of the same names."""

    def __init__(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        self.lines: list[str] = []
        self._network, self._state = network, state
        self._known: set[str] = set()

    def add_module(self, name: str) -> None:
        module = self._network.get_submodule(name)
        if not type(module).__module__.startswith("torch.nn.modules."):
            raise ConfigError(f"no Python file can be written of this network: {name} is not torch's; {_INSTEAD}")
        self._add(name, _construction(module))

    def add_tensor(self, name: str) -> None:
        value = self._state[name] if name in self._state else self._constant(name)
        empty = f"torch.empty({tuple(value.shape)}, dtype={value.dtype})"
        if name not in self._state:  # a constant of the forward method
            if value.numel() > _MOST_NUMBERS:
                raise ConfigError(
                    f"no Python file can be written of this network: its state_dict lacks the large tensor {name};"
                    f" {_INSTEAD}"
                )
            self._add(name, f"torch.tensor({value.tolist()}, dtype={value.dtype}), persistent=False")
        else:
            self._add(name, f"nn.Parameter({empty})" if isinstance(value, nn.Parameter) else empty)

    def add_unused(self) -> None:
        """What the forward pass does not use of the state, such as BatchNorm's count of batches."""
        for key in self._state:
            parts = key.split(".")
            if not any(".".join(parts[:length]) in self._known for length in range(1, len(parts) + 1)):
                self.add_tensor(key)

    def _constant(self, name: str) -> Tensor:
        parent, _, own = name.rpartition(".")
        value = getattr(self._network.get_submodule(parent), own)
        assert isinstance(value, Tensor), "fx makes such nodes of tensors alone"
        return value

    def _add(self, name: str, layer: str) -> None:
        if name not in self._known:
            self._known.add(name)
            self.lines.append(f"add({name!r}, {layer})")


def _construction(module: nn.Module) -> str:
    """The expression that builds one of torch's layers."""
    if isinstance(module, nn.MultiheadAttention):
        return (
            f"nn.MultiheadAttention({module.embed_dim}, {module.num_heads}, bias={module.in_proj_bias is not None},"
            f" batch_first={module.batch_first})"
        )
    if next(module.children(), None) is not None:
        raise ConfigError(f"no Python file can be written of a {type(module).__name__}; {_INSTEAD}")
    return f"nn.{' '.join(repr(module).split())}"
