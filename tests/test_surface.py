"""The names that users' scripts rely on: options, keys of reports, exit codes, folders that are packages."""

from __future__ import annotations

import dataclasses
import importlib
from configparser import ConfigParser
from pathlib import Path

import pytest

from dreamdistill.distill.stage import DistillReport
from dreamdistill.invert.stage import InvertReport
from dreamdistill.prune.stage import PruneReport
from dreamdistill.shared.core import errors
from dreamdistill.shared.shards.monitor import RunStatus

ROOT = Path(__file__).parents[1]
ALL = "--out --seed --device --batch-size --json --config --dry-run --overwrite --debug --version"
OPTIONS = {
    "invert.cli": f"{ALL} --teacher --weights --num-classes --mean --std --image-size --recipe --steps --scales --lr"
    " --betas --warmup --schedule --parametrization --falloff --statistics --shift --alpha-class --alpha-tv --alpha-l2"
    " --alpha-feature --alpha-compete --alpha-similar --first-bn --compete-temperature --jitter --flip --clip --images"
    " --shard-size --classes --format --compete-with --append --compile --precision --workers --threads --engine"
    " --address --rank --world --grace",
    "distill.cli": f"{ALL} --shards --rounds --student --init --teacher --weights --epochs --lr --warmup-epochs"
    " --momentum --temperature --feature-weight --labels --crop --min-area --flip --mixup --shape-cutmix --dead-leaves"
    " --loader --eval",
    "prune.cli": f"{ALL} --shards --ratio --iterations --score-images --teacher --weights --epochs --lr --warmup-epochs"
    " --momentum --temperature --feature-weight --labels --crop --min-area --flip --mixup --shape-cutmix --dead-leaves"
    " --loader --latency-batch --eval",
    "pipelines.run": "--out --seed --device --overwrite --dry-run --json --debug --version",
}


@pytest.mark.parametrize("module", OPTIONS)
def test_options_are_the_ones_promised(module: str) -> None:
    command = importlib.import_module(f"dreamdistill.{module}").command
    found = {parameter.opts[0] for parameter in command.params if parameter.opts[0].startswith("--")}
    assert found == set(OPTIONS[module].split())


def test_di_shards_has_its_commands() -> None:
    command = importlib.import_module("dreamdistill.shared.cli.di_shards").command
    assert set(command.commands) == {"show", "verify", "score", "gallery"}
    shown = {parameter.opts[0] for parameter in command.commands["show"].params}
    assert shown == {"folder", "--watch", "--every", "--json", "--debug"}
    pictured = {parameter.opts[0] for parameter in command.commands["gallery"].params}
    assert pictured == {"folder", "--out", "--columns", "--side", "--classes", "--json", "--debug"}
    scored = {parameter.opts[0] for parameter in command.commands["score"].params}
    named = "--verifier --verifier-weights --real --teacher --weights --device"
    assert scored == {"folder", "--json", "--debug", *named.split()}


@pytest.mark.parametrize(
    ("report", "keys"),
    [
        (InvertReport, "images shards seconds agreement"),
        (DistillReport, "teacher_top1 student_top1 seconds eval"),
        (
            PruneReport,
            "top1_before top1_after filters_before filters_after parameters_before parameters_after macs_before"
            " macs_after latency_before_ms latency_after_ms seconds eval",
        ),
    ],
)
def test_reports_have_the_keys_promised(report: type, keys: str) -> None:
    assert {field.name for field in dataclasses.fields(report)} == set(keys.split())


def test_a_look_has_the_keys_promised() -> None:
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
    assert scripts == ["di-invert", "di-distill", "di-prune", "di-run", "di-shards"]
    assert {"demo", "dali", "dali-cuda12", "timm", "ray", "score", "dev"} <= set(setup["options.extras_require"])


def test_stages_do_not_import_one_another_and_shared_imports_none_of_them() -> None:
    allowed = {"shared": set(), "invert": {"shared"}, "distill": {"shared"}, "prune": {"shared", "distill"}}
    for folder, others in allowed.items():
        for path in (ROOT / folder).rglob("*.py"):
            for other in {"shared", "invert", "distill", "prune", "pipelines"} - others - {folder}:
                assert f"from ..{other}" not in path.read_text(), path


def test_only_the_command_line_knows_click_and_rich() -> None:
    knows = {
        path.relative_to(ROOT).as_posix()
        for folder in ("shared", "invert", "distill", "prune", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        if "import click" in path.read_text() or "from rich" in path.read_text()
    }
    assert knows == {
        "shared/cli/commandline.py",
        "shared/cli/di_shards.py",
        "shared/cli/progress.py",
        "shared/cli/monitor_view.py",
        "pipelines/report.py",
        "pipelines/run.py",
    }
