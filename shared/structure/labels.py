"""Labels of channels, and which of them stand for channels that can only be removed together."""

from __future__ import annotations

import torch
from torch import Tensor

FIXED = 0
"""The label of what cannot be removed. What is tied to it cannot either."""


class Labels:
    """Whole numbers from 0 on, which are tied to one another (a union-find structure).

    Tensors of labels are int64. A dimension along which all labels are the same has stride 0 (``expand``), which makes
    the work independent of the size of images.
    """

    def __init__(self) -> None:
        self._parents = [FIXED]

    def new(self, count: int) -> Tensor:
        """(count,) labels that are tied to nothing."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def roots(self, labels: Tensor) -> Tensor:
        """For each label the lowest one of those that it is tied to: 0 (:data:`FIXED`) if it cannot be removed."""
        small = _compact(labels)
        found, places = small.unique(return_inverse=True)
        roots = torch.tensor([self._root(label) for label in found.tolist()], dtype=torch.int64)
        return roots[places].reshape(small.shape).expand(labels.shape)

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Tie labels at the same place of two tensors of one shape."""
        for dim in range(first.ndim):
            if first.stride(dim) == 0 and second.stride(dim) == 0:
                first, second = first.narrow(dim, 0, 1), second.narrow(dim, 0, 1)
        if not first.numel():
            return
        count = len(self._parents)
        for pair in (first * count + second).unique().tolist():
            a, b = self._root(pair // count), self._root(pair % count)
            self._parents[max(a, b)] = min(a, b)

    def tie_along(self, labels: Tensor, dim: int) -> None:
        """Tie all labels that differ only in their place along a dimension."""
        if self.vary(labels, dim):
            self.tie(labels, labels.narrow(dim, 0, 1).expand(labels.shape))

    def fix(self, labels: Tensor) -> None:
        self.tie(labels, torch.tensor(FIXED).expand(labels.shape))

    def vary(self, labels: Tensor, dim: int) -> bool:
        """Whether there are labels that differ along a dimension, and are not tied to each other."""
        if labels.shape[dim] < 2 or labels.stride(dim) == 0:
            return False
        labels = _compact(labels)
        first = labels.narrow(dim, 0, 1)
        if torch.equal(labels, first.expand(labels.shape)):
            return False
        roots = self.roots(labels)
        return not torch.equal(roots, roots.narrow(dim, 0, 1).expand(roots.shape))

    def _root(self, label: int) -> int:
        parents = self._parents
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label


def _compact(labels: Tensor) -> Tensor:
    """The same labels once along each dimension of stride 0."""
    for dim in range(labels.ndim):
        if labels.stride(dim) == 0 and labels.shape[dim] > 1:
            labels = labels.narrow(dim, 0, 1)
    return labels
