"""Ridge regression against NumPy, with more samples than inputs and with fewer."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch import nn

from dreamdistill.shared.structure.linear_fit import RIDGE, ridge_regression, solve


@pytest.mark.parametrize(("samples", "inputs"), [(40, 7), (7, 40), (12, 12), (1, 5)])
@pytest.mark.parametrize("groups", [1, 3])
def test_ridge_regression(samples: int, inputs: int, groups: int) -> None:
    torch.manual_seed(0)
    p_GSD = torch.randn(groups, samples, inputs, dtype=torch.float64)
    y_GSO = torch.randn(groups, samples, 4, dtype=torch.float64)
    old_GDO = torch.randn(groups, inputs, 4, dtype=torch.float64)
    amount_G = torch.rand(groups, dtype=torch.float64) + 0.1
    found_GDO = ridge_regression(p_GSD, y_GSO, old_GDO, amount_G)
    for p, y, old, amount, found in zip(p_GSD, y_GSO, old_GDO, amount_G, found_GDO, strict=True):
        # The same as least squares with rows that hold the old weights.
        rows = numpy.vstack([p.numpy(), amount.sqrt().item() * numpy.eye(inputs)])
        wanted = numpy.vstack([y.numpy(), amount.sqrt().item() * old.numpy()])
        expected, *_ = numpy.linalg.lstsq(rows, wanted, rcond=None)
        numpy.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_a_layer_of_many_inputs_is_fitted_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    cholesky = torch.linalg.cholesky

    def note(matrix: torch.Tensor) -> torch.Tensor:
        sides.append(matrix.shape[-1])
        return cholesky(matrix)

    monkeypatch.setattr(torch.linalg, "cholesky", note)
    torch.manual_seed(0)
    layer = nn.Linear(5000, 3).requires_grad_(False)
    columns, target = torch.randn(30, 1, 5000), torch.randn(30, 3)
    missed = solve(layer, columns, target, ridge=RIDGE)
    assert sides == [30]
    assert missed < 0.01
    assert torch.allclose(layer(columns[:, 0]), target, atol=0.05)
