"""``di-model``: show, evaluate and export what distilling and pruning made, or any network that has a name."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..core.config import from_mapping, settings_of
from ..core.errors import ConfigError, printable
from ..export.config import EvaluateConfig, ExportConfig, ModelConfig
from .commandline import context_settings, option_of, print_outcome, print_result, run_command
from .common_options import debug_option, json_option, version_option
from .help import GroupedCommand, help_all_option
from .outcome import Outcome
from .stdout import stdout_to_stderr

if TYPE_CHECKING:
    from ..models.classifier import Classifier

C = TypeVar("C", bound=ModelConfig)

_CONFUSED = 5  # pairs of classes that are shown


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
    with stdout_to_stderr():
        from ..data.evaluation import evaluate
        from ..data.labelled import open_labelled
        from ..models.classifier import load_model
        from ..models.cost import paired_latency_ms

        model = _load(folder, config)
        device = next(model.network.parameters()).device
        teacher = None
        if config.teacher is not None:
            teacher = load_model(
                config.teacher,
                weights=config.teacher_weights,
                num_classes=model.num_classes,
                image_size=model.preprocessing.image_size,
                mean=None if Path(config.teacher).is_dir() else model.preprocessing.mean,
                std=None if Path(config.teacher).is_dir() else model.preprocessing.std,
                code=config.code,
                device=device,
            )
        images = open_labelled(config.eval, model.num_classes, model.class_names)
        found = evaluate(
            model.logits,
            images,
            model.preprocessing,
            num_classes=model.num_classes,
            teacher_logits_of=teacher.logits if teacher else None,
            batch_size=config.batch_size,
        )
        networks = [model.network, *([teacher.network] if teacher else [])]
        latency = paired_latency_ms(networks, model.preprocessing.blank(1, device))
    summary = {
        "top1": found.top1,
        "top5": found.top5,
        "agreement": found.agreement,
        "images": found.images,
        "latency_ms": round(latency[0], 4),
        "teacher_latency_ms": round(latency[1], 4) if teacher else None,
    }
    if as_json:
        print_result({**summary, "confusion": found.confusion}, as_json=True, title=folder)
        return
    names = model.class_names or tuple(map(str, range(model.num_classes)))
    confused = [f"{names[true]} taken for {names[given]}: {n}" for true, given, n in found.most_confused(_CONFUSED)]
    print_result({**summary, "most_confused": "; ".join(confused) or None}, as_json=False, title=folder)


def _export(folder: str, config: ExportConfig, as_json: bool) -> None:
    with stdout_to_stderr():
        from ..export.export import SUFFIXES, export_model

        if config.out is None and not Path(folder).is_dir():
            raise ConfigError(f"{folder} is no folder: say --out, the file to write")
        out = config.out or Path(folder, f"model{SUFFIXES[config.format]}")
        report = export_model(_load(folder, config), out, config)
    values = dataclasses.asdict(report)
    if as_json:
        print_result(values, as_json=True, title=folder)
    else:
        print_outcome(Outcome(rows=values, next_steps=_use(config.format, out)), "di-model export")


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
    help="Show, evaluate and export a model. FOLDER is what di-distill or di-prune wrote, or any name that di-invert"
    " --teacher takes.",
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
