"""The measurement of a model on real images, beside its teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..data.evaluation import Evaluation, evaluate
from ..data.labelled import open_labelled
from ..models.classifier import Classifier, load_model
from ..models.cost import paired_latency_ms
from .config import EvaluateConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of a model.

    Attributes:
        evaluation: None without real images.
        latency_ms, teacher_latency_ms: of one image, medians, measured in turn; None without a teacher.
    """

    evaluation: Evaluation | None
    latency_ms: float
    teacher_latency_ms: float | None


def measure(model: Classifier, config: EvaluateConfig) -> Measured:
    """Measure a model as a configuration says.

    Raises:
        ConfigError: the teacher cannot be loaded or has another task, or the images cannot be used.
    """
    device = next(model.network.parameters()).device
    teacher = _teacher(model, config)
    evaluation = None
    if config.eval is not None:
        evaluation = evaluate(
            model.logits,
            open_labelled(config.eval, model.num_classes, model.class_names),
            model.preprocessing,
            num_classes=model.num_classes,
            teacher_logits_of=teacher.logits if teacher else None,
            batch_size=config.batch_size,
        )
    networks = [model.network, *([teacher.network] if teacher else [])]
    latency = paired_latency_ms(networks, model.preprocessing.blank(1, device))
    return Measured(
        evaluation=evaluation,
        latency_ms=round(latency[0], 4),
        teacher_latency_ms=round(latency[1], 4) if teacher else None,
    )


def _teacher(model: Classifier, config: EvaluateConfig) -> Classifier | None:
    """The teacher; one that is no saved model has the normalisation of the model itself."""
    if config.teacher is None:
        return None
    own = model.preprocessing
    is_saved = Path(config.teacher).is_dir()
    return load_model(
        config.teacher,
        weights=config.teacher_weights,
        num_classes=model.num_classes,
        mean=None if is_saved else own.mean,
        std=None if is_saved else own.std,
        image_size=own.image_size,
        code=config.code,
        device=next(model.network.parameters()).device,
    )
