"""The distillation loss, and that of hints."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..shared.core.numerics import at_least_float32


def soften(logits_NK: Tensor, temperature: float) -> Tensor:
    """Softmax at a temperature, (N, K), float32 or better."""
    return F.softmax(at_least_float32(logits_NK) / temperature, dim=1)


def distillation_loss(student_NK: Tensor, soft_labels_NK: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(p_teacher || p_student)``, mean over images (Hinton et al. 2015).

    Args:
        student_NK: the student's logits.
        soft_labels_NK: the teacher's probabilities, softened at the same temperature (:func:`soften`).
    """
    log_student = F.log_softmax(at_least_float32(student_NK) / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, soft_labels_NK, reduction="batchmean")


def feature_loss(guess_NCHW: Tensor, hint_NCHW: Tensor, square: Tensor) -> Tensor:
    """``mean((guess - hint / sqrt(square))^2)``: one weight suits layers of any scale; 1 where all guesses are 0.

    Args:
        guess_NCHW: the student's, in units of the hints' size.
        hint_NCHW: the teacher's feature map.
        square: mean square of the hints of the whole batch, a scalar.
    """
    size = square.clamp_min(1e-6).sqrt()  # a dead layer has nothing to tell
    return (at_least_float32(guess_NCHW) - at_least_float32(hint_NCHW) / size).square().mean()
