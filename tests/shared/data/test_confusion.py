"""The confusion matrix: rows are true classes, and its diagonal is the accuracy."""

from __future__ import annotations

import pytest
import torch

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.confusion import count_confusions
from dreamdistill.shared.data.evaluation import evaluate
from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.report.confusions import Confusion


def test_rows_are_true_classes() -> None:
    true_N, answered_N = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 2, 1, 0, 0])
    assert count_confusions(true_N, answered_N, 3).tolist() == [[1, 0, 1], [0, 1, 0], [2, 0, 0]]


def test_its_diagonal_is_the_accuracy() -> None:
    teacher, images = load_model("digits_cnn"), open_labelled("digits", 10)
    counts_KK = evaluate(teacher.logits, images, teacher.preprocessing, num_classes=10, batch_size=100).confusion
    assert counts_KK.dtype == torch.int64
    assert counts_KK.sum() == 450
    assert float(counts_KK.trace()) / 450 == top1(teacher.network, images, teacher.preprocessing)
    found = Confusion.of(counts_KK)
    assert (found.images, found.right, len(found.counts)) == (450, 435, 10)
    assert sum(mistake.images for mistake in found.mistakes) <= 15
    assert all(mistake.true != mistake.answered for mistake in found.mistakes)


def test_of_many_classes_the_most_frequent_mistakes_are_kept() -> None:
    counts_KK = torch.eye(30, dtype=torch.int64) * 9
    counts_KK[3, 4], counts_KK[5, 1] = 2, 7
    found = Confusion.of(counts_KK)
    assert found.counts == ()
    assert [(m.true, m.answered, m.images) for m in found.mistakes] == [(5, 1, 7), (3, 4, 2)]


def test_too_many_classes_for_a_matrix_are_refused() -> None:
    with pytest.raises(ConfigError, match="too large"):
        count_confusions(torch.tensor([0]), torch.tensor([0]), 100_000)
