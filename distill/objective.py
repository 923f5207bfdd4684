"""The distillation loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..shared.precision import at_least_float32


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
