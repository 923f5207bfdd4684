"""The names that users' scripts rely on: options, keys of reports, exit codes, console scripts."""

from __future__ import annotations

import dataclasses
import importlib
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from dreamdistill.distill.extend.report import ExtendReport
from dreamdistill.distill.stage import DistillReport
from dreamdistill.invert.stage import InvertReport
from dreamdistill.pipelines.compress.report import CompressReport
from dreamdistill.prune.report import PruneReport
from dreamdistill.shared.cli.help import CommandWithParts
from dreamdistill.shared.core import errors
from dreamdistill.shared.export.export import ExportReport
from dreamdistill.shared.shards.monitor import RunStatus

ROOT = Path(__file__).parents[1]
ALL = "--out --seed --device --code --batch-size --json --config --dry-run --overwrite --debug --version --help-all"
TRAINING = (
    "--epochs --lr --warmup-epochs --momentum --temperature --feature-weight --labels --crop --min-area --flip --mixup"
    " --shape-cutmix --dead-leaves --loader --compile --interpolate --tensorboard"
)
OPTIONS = {
    "invert.cli": f"{ALL} --check --eval --teacher --weights --num-classes --mean --std --image-size --recipe"
    " --steps --scales --lr --betas --warmup --schedule --parametrization --falloff --statistics"
    " --shift --alpha-class --alpha-tv --alpha-l2 --alpha-feature --alpha-compete --alpha-similar"
    " --first-bn --compete-temperature --jitter --flip --clip --images --shard-size --classes"
    " --class-names --format --compete-with --append --compile --precision --workers --threads"
    " --engine --address --rank --world --grace",
    "distill.cli": f"{ALL} {TRAINING} --shards --rounds --student --inherit --init --teacher --weights --eval --verify",
    "prune.cli": f"{ALL} {TRAINING} --shards --ratio --macs --latency --params --curve --keep --only --round-to"
    " --iterations --score-images --repair --teacher --weights --latency-batch --latency-compile --eval --verify",
    "pipelines.compress.cli": "--out --seed --device --code --json --config --dry-run --overwrite --debug --version"
    " --help-all --teacher --weights --num-classes --mean --std --image-size --class-names --target --minutes --eval"
    " --flip --normalize --latency-batch --workers",
    "distill.extend.cli": f"{ALL} {TRAINING} --shards --new --share --criterion --teacher --weights --eval --verify",
    "pipelines.run": "--out --seed --device --overwrite --dry-run --json --debug --version",
}
# What --help shows, beside the general options: what most people need.
SHOWN = {
    "invert.cli": "--teacher --weights --num-classes --mean --std --image-size --out --images --recipe --workers"
    " --check",
    "distill.cli": "--out --shards --student --inherit --eval --teacher --weights --epochs --lr --flip",
    "prune.cli": "--out --shards --ratio --macs --latency --eval --curve --repair --epochs --lr --flip",
    "pipelines.compress.cli": "--out --teacher --weights --num-classes --mean --std --image-size --target --minutes"
    " --eval --flip --normalize",
    "distill.extend.cli": "--out --shards --new --eval --share --epochs --lr --flip",
}
GENERAL = "--config --dry-run --json --help-all"


def command_of(module: str) -> click.Command:
    return importlib.import_module(f"dreamdistill.{module}").command


@pytest.mark.parametrize("module", OPTIONS)
def test_options_are_the_ones_promised(module: str) -> None:
    found = {parameter.opts[0] for parameter in command_of(module).params if parameter.opts[0].startswith("--")}
    assert found == set(OPTIONS[module].split())


@pytest.mark.parametrize("module", SHOWN)
def test_help_shows_the_few_options_that_most_people_need(module: str) -> None:
    shown = {p.opts[0] for p in command_of(module).params if not getattr(p, "advanced", False)}
    assert shown == {*SHOWN[module].split(), *GENERAL.split()}


def test_di_run_has_its_parts() -> None:
    command = command_of("pipelines.run")
    assert isinstance(command, CommandWithParts)
    assert set(command.parts) == {"compress", "new"}
    assert {parameter.opts[0] for parameter in command.parts["new"].params} == {"file", "--debug"}


def test_di_shards_has_its_commands() -> None:
    command = importlib.import_module("dreamdistill.shared.cli.di_shards").command
    assert set(command.commands) == {"show", "verify", "score", "gallery", "report"}
    options = {
        "show": "folder --watch --every --json --debug",
        "verify": "folder --json --debug",
        "score": "folder --json --debug --verifier --verifier-weights --real --teacher --weights --code --device",
        "gallery": "folder --out --columns --side --classes --labels --json --debug",
        "report": "folder --out --json --debug",
    }
    for name, expected in options.items():
        assert {parameter.opts[0] for parameter in command.commands[name].params} == set(expected.split()), name


def test_di_model_has_its_commands() -> None:
    command = importlib.import_module("dreamdistill.shared.cli.di_model").command
    general = "folder --weights --num-classes --mean --std --image-size --code --device --json --debug --help-all"
    options = {
        "show": "",
        "evaluate": "--eval --teacher --teacher-weights --batch-size",
        "report": "--eval --teacher --teacher-weights --batch-size --out",
        "export": "--format --out --int8 --shards --normalize --batch --eval",
    }
    assert set(command.commands) == set(options)
    for name, own in options.items():
        found = {parameter.opts[0] for parameter in command.commands[name].params}
        assert found == {*general.split(), *own.split()}, name


@pytest.mark.parametrize(
    ("report", "keys"),
    [
        (
            ExportReport,
            "file bytes max_difference top1 latency_ms file_int8 bytes_int8 top1_int8 agreement_int8 latency_int8_ms"
            " eval",
        ),
        (
            CompressReport,
            "top1_before top1_after top1_float top1_int8 agreement_int8 parameters_before parameters_after macs_before"
            " macs_after latency_before_ms latency_after_ms latency_float_ms latency_int8_ms images repair_epochs file"
            " file_int8 bytes bytes_int8 page seconds",
        ),
        (InvertReport, "images shards seconds agreement clipped verdict teacher_top1 warnings"),
        (
            DistillReport,
            "teacher_top1 student_top1 inherited agreement parameters teacher_parameters macs teacher_macs seconds"
            " eval",
        ),
        (
            ExtendReport,
            "classes_old classes_new class_names images_synthetic images_new top1_old_before top1_old top1_new"
            " top1_joint separation_before separation confusion seconds eval",
        ),
        (
            PruneReport,
            "top1_before top1_raw top1_ls top1_after blocks_removed filters_before filters_after parameters_before"
            " parameters_after macs_before macs_after latency_before_ms latency_after_ms"
            " latency_one_before_ms latency_one_after_ms seconds eval",
        ),
    ],
)
def test_reports_have_the_keys_promised(report: type, keys: str) -> None:
    assert {field.name for field in dataclasses.fields(report)} == set(keys.split())


def test_a_status_has_the_keys_promised() -> None:
    assert set(RunStatus(state="idle").as_mapping()) == set(
        "state teacher shards shards_planned images images_planned images_per_second seconds_left"
        " seconds_since_last workers failures failed".split()
    )


def test_exit_codes() -> None:
    codes = {name: getattr(errors, f"{name}Error").exit_code for name in ("Dream", "Config", "Partial", "Stopped")}
    assert codes == {"Dream": 1, "Config": 2, "Partial": 3, "Stopped": 75}


def test_console_scripts_and_extras() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = [line.split("=")[0].strip() for line in setup["options.entry_points"]["console_scripts"].splitlines()[1:]]
    assert scripts == ["di-invert", "di-distill", "di-prune", "di-extend", "di-run", "di-shards", "di-model"]
    assert {"demo", "dali", "dali-cuda12", "timm", "ray", "score", "tensorboard", "export", "dev"} <= set(
        setup["options.extras_require"]
    )
