"""What torch's operations do to labels of channels: for each kind of operation, the labels of its result.

An operation of no known kind fixes all that it reads, and what it computes is fixed. So a network with an operation
that is missing here is pruned less, and not wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .labels import FIXED, Labels

Known = Callable[[Any], Tensor | None]
"""The labels of a tensor; None of a constant, and of what is no tensor."""

# Element by element, though torch does not say so of them, or older versions do not (those in the second line).
_POINTWISE = (
    "hardswish rsub native_dropout dropout _prelu_kernel clone _to_copy detach alias contiguous copy"
    " celu elu hardsigmoid hardtanh leaky_relu selu"
).split()
_TAG = torch.Tag.pointwise
# These take numbers to other places and change none.
_MOVING = (
    "permute transpose t expand slice select split split_with_sizes unbind unsqueeze squeeze cat stack index_select"
    " flip roll repeat pixel_shuffle pixel_unshuffle channel_shuffle index"
).split()
_RESHAPING = "view _unsafe_view reshape _reshape_alias flatten unflatten".split()
_CHUNKING = "split split_with_sizes unbind".split()
# (N, C, ...) to (N, C, ...) with other sides.
_SPATIAL = (
    "max_pool2d_with_indices max_pool2d avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d"
    " mkldnn_max_pool2d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa"
    " reflection_pad2d replication_pad2d"
).split()
# All numbers along a dimension count in each result, or along several.
_ALONG = (
    "mean sum amax amin max min var std var_mean norm linalg_vector_norm logsumexp _softmax _log_softmax _safe_softmax"
    " cumsum"
).split()


def labels_of_result(
    labels: Labels, known: Known, function: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any
) -> Any:
    """The labels of what an operation returned: a tensor of labels, or a sequence of them and None for each output.

    Args:
        labels: ties are added to them.
        function: an operation of torch, as ``__torch_dispatch__`` gets it.
        out: what it returned.
    """
    name = function.overloadpacket.__name__.rstrip("_") or function.overloadpacket.__name__
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    in_place = function.overloadpacket.__name__.endswith("_")
    if name in _POINTWISE or _TAG in function.tags:
        return _pointwise(labels, known, leaves, out)
    if not in_place and name in _RESHAPING and isinstance(out, Tensor) and out.dtype == leaves[0].dtype:
        return _reshaped(labels, _certain(known, leaves[0]), out)
    if not in_place and name in _MOVING:
        moved = function(*tree_map(lambda each: _moving(known, each), args), **kwargs)
        if name in _CHUNKING:
            _tie_chunks(labels, moved)
        return moved
    first = known(leaves[0])
    if first is not None and len([leaf for leaf in leaves if known(leaf) is not None]) == 1:
        if name == "constant_pad_nd":
            return _padded(labels, first, args[1], out)
        if name in _SPATIAL:
            return _spatial(labels, first, out)
        if name in _ALONG:
            return _along(labels, first, function, args, kwargs, out)
    for leaf in leaves:
        if (found := known(leaf)) is not None:
            labels.fix(found)
    return tree_map(lambda each: _fixed(each.shape) if isinstance(each, Tensor) else None, out)


def _fixed(shape: Sequence[int]) -> Tensor:
    return torch.tensor(FIXED).expand(tuple(shape))


def _certain(known: Known, tensor: Tensor) -> Tensor:
    found = known(tensor)
    return _fixed(tensor.shape) if found is None else found


def _moving(known: Known, leaf: Any) -> Any:
    """An argument of an operation that moves numbers: labels for a tensor of numbers, indices as they are."""
    if not isinstance(leaf, Tensor):
        return leaf
    return _certain(known, leaf) if leaf.is_floating_point() or known(leaf) is not None else leaf


def _pointwise(labels: Labels, known: Known, leaves: Sequence[Tensor], out: Any) -> Any:
    shape = (out if isinstance(out, Tensor) else out[0]).shape
    operands: list[Tensor] = []
    constants: list[Tensor] = []
    for leaf in leaves:
        found = known(leaf)
        target = operands if found is not None else constants
        one = leaf if found is None else found
        target.append(one.reshape((1,) * (len(shape) - one.ndim) + tuple(one.shape)))
    total: Tensor | None = None
    for one in operands:
        # One channel that is spread over many, such as a map of attention, is tied to none of them, and stays.
        spread = [dim for dim, size in enumerate(shape) if one.shape[dim] == 1 < size]
        if any(other.shape[dim] > 1 and labels.vary(other, dim) for other in operands for dim in spread):
            labels.fix(one)
            continue
        one = one.expand(shape)
        if total is not None:
            labels.tie(total, one)
        total = one
    if total is None:
        return _fixed(shape)
    for constant in constants:
        if any(constant.shape[dim] > 1 and labels.vary(total, dim) for dim in range(len(shape))):
            labels.fix(total)  # a constant of one number for each channel, which nothing narrows
    return total if isinstance(out, Tensor) else [total, *[None] * (len(out) - 1)]


def _reshaped(labels: Labels, before: Tensor, out: Tensor) -> Tensor:
    """Where one dimension becomes several, the same places of each part are tied, so that its parts stay equal."""
    after = before.reshape(out.shape)
    old, new = list(before.shape), list(out.shape)
    i = j = 0
    while i < len(old) and j < len(new):
        start, a, b = j, old[i], new[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        parts = [dim for dim in range(start, j) if new[dim] > 1]
        for dim in parts[:-1]:
            labels.tie_along(after, dim)
    return after


def _tie_chunks(labels: Labels, chunks: Sequence[Tensor]) -> None:
    for chunk in chunks[1:]:
        if chunk.shape == chunks[0].shape:
            labels.tie(chunks[0], chunk)


def _padded(labels: Labels, before: Tensor, amounts: Sequence[int], out: Tensor) -> Tensor:
    for position in range(0, len(amounts), 2):
        dim = before.ndim - 1 - position // 2
        around = list(amounts[position : position + 2])
        if not any(around):
            continue
        if labels.vary(before, dim):
            before = torch.nn.functional.pad(before, [0, 0] * (position // 2) + around, value=FIXED)
        else:
            sizes = list(before.shape)
            sizes[dim] = out.shape[dim]
            before = before.narrow(dim, 0, 1).expand(sizes)
    return before


def _spatial(labels: Labels, before: Tensor, out: Any) -> Any:
    result = out if isinstance(out, Tensor) else out[0]
    for dim in range(2, before.ndim):
        labels.tie_along(before, dim)
        before = before.narrow(dim, 0, 1)
    after = before.expand(result.shape)
    return after if isinstance(out, Tensor) else [after, *[None] * (len(out) - 1)]


def _along(labels: Labels, before: Tensor, function: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Any:
    names = [argument.name for argument in function._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    dims = given.get("dim")
    dims = range(before.ndim) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    dims = [dim % before.ndim for dim in dims]
    results = [out] if isinstance(out, Tensor) else list(out)
    for dim in dims:
        labels.tie_along(before, dim)
        if results[0].shape != before.shape:
            before = before.narrow(dim, 0, 1)
    after = [before.expand(each.shape) if each.ndim == before.ndim else before.reshape(each.shape) for each in results]
    return after[0] if isinstance(out, Tensor) else after
