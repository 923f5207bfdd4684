"""The run of a pipeline: its stages in order, those that are done excepted, and a report at the end."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from ..shared.cli.effects import recorded_warnings
from ..shared.core.errors import ConfigError
from ..shared.core.files import read_limited, remove_file, write_text
from ..shared.core.launch import require_alone
from ..shared.core.records import LARGEST, from_json, parse_json
from ..shared.shards.manifest import load_manifest
from .plan import Pipeline, Stage
from .report import PipelineReport, StageResult, make_report


def run(pipeline: Pipeline) -> PipelineReport:
    """Run every stage that is not done, write ``report.json`` and ``report.html``, and return the report.

    Raises:
        ConfigError: torchrun started several processes, or a package is missing.
        DreamError: a stage failed; what was done stays, and the next run goes on from there.
    """
    require_alone("di-run")
    if any(stage.kind == "export" and stage.config.export.format == "onnx" for stage in pipeline.stages):
        from ..shared.export.onnx_file import require_onnx  # imported here, since it imports torch

        require_onnx()  # before the work: a run does not end for a package that is missing
    path, unfinished = pipeline.out / "report.json", pipeline.out / "unfinished.json"
    # What an interrupted run knew of its stages counts more than the report of the run before it.
    before = {**_earlier_stages(path), **_earlier_stages(unfinished)}
    stages: dict[str, StageResult] = {}
    for number, stage in enumerate(pipeline.stages, 1):
        print(f"stage {number} of {len(pipeline.stages)}: {stage.name} ({stage.kind})", file=sys.stderr, flush=True)
        _check_round(stage)
        entry, earlier = _timed_stage(stage), before.get(stage.name)
        stages[stage.name] = earlier if earlier is not None and _did_nothing(earlier, entry) else entry
        write_text(
            unfinished, json.dumps({"stages": {name: dataclasses.asdict(each) for name, each in stages.items()}})
        )
    report = make_report(pipeline, stages)
    write_text(path, json.dumps(report.as_mapping(), indent=1) + "\n")
    remove_file(unfinished)
    from .html_report import write_page  # imported here, since it imports torch

    write_page(pipeline, report)
    return report


def _timed_stage(stage: Stage) -> StageResult:
    """Run a stage, and keep what it says."""
    from ..shared.core.device import device_name  # imported here, since it imports torch

    started = time.monotonic()
    with recorded_warnings() as warnings:
        report = _run_stage(stage)
    seconds = round(time.monotonic() - started, 3)
    # As report.json holds it, where a tuple is a list: it is compared with that.
    result = json.loads(json.dumps(dataclasses.asdict(report)))
    found = tuple(dict.fromkeys(warnings))
    return StageResult(
        stage=stage.kind, wall_seconds=seconds, result=result, place=device_name(stage.config.device), warnings=found
    )


def _earlier_stages(path: Path) -> dict[str, StageResult]:
    """The stages of an earlier report; none if it is missing or damaged, since all of it can be made again."""
    try:
        stages = parse_json(read_limited(path, LARGEST))["stages"]
        return {name: from_json(StageResult, entry) for name, entry in stages.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _check_round(stage: Stage) -> None:
    """Refuse to go on with a round made against another student than there is now: ``--append`` would add one more."""
    if not stage.round:
        return
    from ..shared.models.checkpoints import read_model_record

    rounds = load_manifest(stage.config.out).rounds[stage.round :]
    student = stage.config.compete_with
    if rounds and rounds[0].student != read_model_record(Path(student)).sha256:
        raise ConfigError(
            f"round {stage.round + 1} of {stage.config.out} was made against another student than {student} is now:"
            " --overwrite makes all of it again, another --out leaves it alone"
        )


def _run_stage(stage: Stage) -> Any:
    # Imported here, since they import torch.
    from ..distill import stage as distill
    from ..distill.extend import stage as extend
    from ..invert import stage as invert
    from ..prune import stage as prune
    from . import exporting

    stages = {"invert": invert, "distill": distill, "prune": prune, "extend": extend, "export": exporting}
    return stages[stage.kind].run(stage.config)


def _did_nothing(earlier: StageResult, entry: StageResult) -> bool:
    """Whether a stage was done already: its result is the earlier one but for the seconds."""
    return {**earlier.result, "seconds": 0} == {**entry.result, "seconds": 0}
