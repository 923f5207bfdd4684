"""``di-model``: show, evaluate, report and export what distilling and pruning made, or any network that has a name."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..core.config import from_mapping, settings_of
from ..core.errors import ConfigError, printable
from ..export.config import SUFFIXES, EvaluateConfig, ExportConfig, ModelConfig, ReportConfig, check_output
from .commandline import context_settings, print_outcome, print_result, run_command
from .common_options import debug_option, json_option, version_option
from .help import GroupedCommand, help_all_option
from .outcome import Outcome
from .setting_options import option_of
from .stdout import stdout_to_stderr

if TYPE_CHECKING:
    from ..models.classifier import Classifier

C = TypeVar("C", bound=ModelConfig)

_MISTAKES = 5  # that are shown, the most frequent ones


def _load(folder: str, config: ModelConfig) -> Classifier:
    from ..core.device import pick_device
    from ..models.classifier import load_model
    from ..models.named_files import name_files

    name_files(config.code)
    return load_model(
        folder,
        weights=config.weights,
        num_classes=config.num_classes,
        mean=config.mean,
        std=config.std,
        image_size=config.image_size,
        code=config.code,
        device=pick_device(config.device),
    )


def _show(folder: str, config: ModelConfig, as_json: bool) -> None:
    with stdout_to_stderr():
        from ..export.description import describe

        found = describe(_load(folder, config), Path(folder) if Path(folder).is_dir() else None)
    if as_json:
        print_result(found.as_mapping(), as_json=True, title=folder)
        return
    print_result(found.facts, as_json=False, title=folder)
    width = max(map(len, found.layers), default=0)
    for name, shape in found.layers.items():
        kernel = "x".join(map(str, shape.kernel_size)) if shape.kind == "conv" else shape.kind
        groups = f", {shape.groups} groups" if shape.groups > 1 else ""
        size = "x".join(map(str, shape.size))
        click.echo(printable(f"  {name:{width}}  {shape.inputs} -> {shape.outputs}, {kernel}{groups}, at {size}"))


def _evaluate(folder: str, config: EvaluateConfig, as_json: bool) -> None:
    if config.eval is None:
        raise ConfigError("--eval is required: the real images to measure on")
    with stdout_to_stderr():
        from ..export.evaluating import measure
        from ..report.confusions import Confusion

        model = _load(folder, config)
        measured = measure(model, config)
        found = measured.evaluation
        assert found is not None, "there are images"
    summary = {
        "top1": found.top1,
        "top5": found.top5,
        "agreement": found.agreement,
        "images": found.images,
        "latency_ms": measured.latency_ms,
        "teacher_latency_ms": measured.teacher_latency_ms,
    }
    if as_json:
        print_result({**summary, "confusion": found.confusion.tolist()}, as_json=True, title=folder)
        return
    names = model.class_names or tuple(map(str, range(model.num_classes)))
    mistakes = Confusion.of(found.confusion).mistakes[:_MISTAKES]
    confused = "; ".join(f"{names[m.true]} taken for {names[m.answered]}: {m.images}" for m in mistakes)
    print_result({**summary, "most confused": confused or None}, as_json=False, title=folder)


def _report(folder: str, config: ReportConfig, as_json: bool) -> None:
    with stdout_to_stderr():
        from ..core.files import write_text
        from ..export.model_page import model_page

        saved = Path(folder) if Path(folder).is_dir() else None
        out = _output(folder, config.out, "report.html")
        check_output(out)
        page = model_page(_load(folder, config), config, title=Path(folder).name, folder=saved)
        write_text(out, page)
    print_result({"report": str(out)}, as_json=as_json, title="di-model report")


def _export(folder: str, config: ExportConfig, as_json: bool) -> None:
    with stdout_to_stderr():
        from ..export.export import export_model

        settings = config.export
        out = _output(folder, config.out, f"model{SUFFIXES[settings.format]}")
        report = export_model(_load(folder, config), out, settings)
    values = dataclasses.asdict(report)
    if as_json:
        print_result(values, as_json=True, title=folder)
    else:
        print_outcome(Outcome(rows=values, next_steps=_use(settings.format, out)), "di-model export")


def _output(folder: str, out: Path | None, name: str) -> Path:
    """The file to write: as the user says, or in the model's folder."""
    if out is None and not Path(folder).is_dir():
        raise ConfigError(f"{folder} is no folder: say --out, the file to write")
    return out or Path(folder, name)


def _use(format: str, file: Path) -> dict[str, str]:
    """How the file is used."""
    lines = {
        "onnx": f"onnxruntime.InferenceSession({str(file)!r}).run(None, {{'images': images}})",
        "pt2": f"torch.export.load({str(file)!r}).module()(images)",
        "state_dict": f"from {file.stem} import load; load({str(file)!r})(images)",
    }
    return {"use it without dreamdistill": lines[format]}


def _command(
    name: str,
    config_class: type[C],
    body: Callable[[str, C, bool], None],
    *,
    help: str,
    examples: tuple[tuple[str, str], ...],
) -> click.Command:
    """A part of ``di-model``, whose options are the fields of its configuration."""

    def callback(folder: str, as_json: bool, debug: bool, **given: Any) -> None:
        values: Mapping[str, Any] = {key: value for key, value in given.items() if value is not None}
        body(folder, from_mapping(config_class, values), as_json)

    return GroupedCommand(
        name,
        params=[
            click.Argument(["folder"]),
            *(option_of(setting) for setting in settings_of(config_class).values()),
            json_option(),
            debug_option(),
            help_all_option(),
        ],
        help=help,
        examples=examples,
        callback=callback,
    )


command = click.Group(
    "di-model",
    help="Show, evaluate, report and export a model. FOLDER is what di-distill, di-prune or di-extend wrote, or any"
    " name that di-invert --teacher takes.",
    params=[version_option()],
    context_settings=context_settings("di-model"),
    commands=[
        _command(
            "show",
            ModelConfig,
            _show,
            help="Show what it is, where it comes from, and its layers.",
            examples=(("a pruned network", "di-model show runs/prune"),),
        ),
        _command(
            "evaluate",
            EvaluateConfig,
            _evaluate,
            help="Measure it on real images: top-1, top-5, agreement with its teacher, confusion, latency.",
            examples=(("beside its teacher", "di-model evaluate runs/prune --eval val/ --teacher resnet50"),),
        ),
        _command(
            "report",
            ReportConfig,
            _report,
            help="Make a page of it: figures, confusion, curves, layers.",
            examples=(("with its confusion", "di-model report runs/prune --eval val/"),),
        ),
        _command(
            "export",
            ExportConfig,
            _export,
            help="Write it as a file that runs without dreamdistill. It is run and compared before it is written.",
            examples=(
                ("ONNX that takes pixels", "di-model export runs/prune --normalize"),
                ("and int8, calibrated on synthetic images", "di-model export runs/prune --int8 --shards shards/"),
                ("weights and a Python file for torch alone", "di-model export runs/prune --format state_dict"),
            ),
        ),
    ],
)


def main() -> None:
    sys.exit(run_command(command))
