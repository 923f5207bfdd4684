"""The page of a model: what it is, how good it is, how it was trained, and its layers."""

from __future__ import annotations

from pathlib import Path

from ..models.classifier import Classifier
from ..models.epochs import read_epochs
from ..report.confusions import Confusion, confusion_parts
from ..report.page import report_page
from ..report.parts import Html, Section, facts, percent, table, warning
from ..report.training import training_charts
from .config import ReportConfig
from .description import describe
from .evaluating import measure

_LONG = ("class_names", "sha256")  # facts that a page leaves out


def model_page(model: Classifier, config: ReportConfig, *, title: str, folder: Path | None) -> str:
    """The page, as HTML.

    Args:
        title: the model's name, for people.
        folder: where it is saved; None for one that is not.

    Raises:
        ConfigError: what the configuration names cannot be used.
    """
    description, measured = describe(model, folder), measure(model, config)
    found = measured.evaluation
    figures: dict[str, object] = {"parameters": f"{description.facts['parameters']:,}"}
    figures |= {"multiply-adds": f"{model.macs / 1e6:.3g} M", "one image": f"{measured.latency_ms:.3g} ms"}
    confusions: list[Html] = []
    if found is not None:
        figures = {"top-1": percent(found.top1), "top-5": percent(found.top5), **figures}
        if found.agreement is not None:
            figures["agreement"] = percent(found.agreement)
        if measured.teacher_latency_ms is not None:
            figures["its teacher"] = f"{measured.teacher_latency_ms:.3g} ms"
        confusions = confusion_parts({title: Confusion.of(found.confusion)}, model.class_names, images=found.name)
    known = {name.replace("_", " "): _text(value) for name, value in description.facts.items() if name not in _LONG}
    layers = [
        [name, shape.kind, shape.inputs, shape.outputs, "x".join(map(str, shape.kernel_size)), shape.groups]
        for name, shape in description.layers.items()
    ]
    sections = [
        Section(title="What it is", parts=[facts(known)]),
        Section(title="Confusion", parts=confusions),
        Section(title="Training", parts=_training(folder)),
        Section(title="Layers", parts=[table(("layer", "kind", "inputs", "outputs", "kernel", "groups"), layers)]),
    ]
    shown = [section for section in sections if section.parts]
    return report_page(shown, title=title, kind="dreamdistill · model", figures=figures)


def _training(folder: Path | None) -> list[Html]:
    if folder is None:
        return []
    try:
        charts = training_charts({folder.name: read_epochs(folder)})
    except (OSError, ValueError) as error:
        return [warning(f"The curves cannot be shown, since metrics.jsonl is damaged: {error}")]
    return [charts] if charts else []


def _text(value: object) -> object:
    return ", ".join(map(str, value)) or None if isinstance(value, list) else value
