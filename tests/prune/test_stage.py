"""The prune stage with a teacher in memory: it does what it does with a named one."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamdistill.prune import schedule, stage
from dreamdistill.prune.config import PruneConfig
from dreamdistill.prune.report import PruneReport
from dreamdistill.shared.core.errors import ConfigError, DreamError
from dreamdistill.shared.models.checkpoints import MODEL_WEIGHTS
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.state_dicts import read_weights


def config(shards: Path, out: Path) -> PruneConfig:
    changes = {"epochs": 1, "batch_size": 10, "loader": "webdataset"}
    return PruneConfig(out=out, shards=shards, iterations=2, changes=changes)


@pytest.mark.cpu
def test_a_teacher_in_memory_is_pruned_as_a_named_one_is(shards: Path, tmp_path: Path) -> None:
    teacher = load_model("digits_cnn")
    before = copy.deepcopy(teacher.network.state_dict())
    named = stage.run(config(shards, tmp_path / "named"))

    unnamed = copy.copy(teacher)
    unnamed.architecture = None
    report = stage.run(config(shards, tmp_path / "memory"), teacher=unnamed)

    assert report.filters_after == named.filters_after
    saved, expected = (read_weights(tmp_path / name / MODEL_WEIGHTS) for name in ("memory", "named"))
    assert all(torch.equal(value, expected[key]) for key, value in saved.items())
    assert all(torch.equal(value, before[key]) for key, value in teacher.network.state_dict().items())
    assert json.loads((tmp_path / "memory/model.json").read_text())["architecture"] is None
    # A finished run is measured again from what it saved.
    measured = stage.run(replace(config(shards, tmp_path / "memory"), eval="digits"), teacher=unnamed)
    assert measured.top1_after is not None


def test_a_teacher_in_memory_must_be_the_one_that_made_the_shards(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the teacher of these shards"):
        stage.run(config(shards, tmp_path / "p"), teacher=load_model("digits_cnn", weights="none"))
    with pytest.raises(ConfigError, match="leave --teacher and --weights out"):
        stage.run(replace(config(shards, tmp_path / "p"), teacher="digits_cnn"), teacher=load_model("digits_cnn"))
    assert not (tmp_path / "p").exists()


@pytest.mark.cpu
def test_a_dry_run_says_what_each_iteration_takes(shards: Path, tmp_path: Path) -> None:
    plan = stage.dry_run(replace(config(shards, tmp_path / "p"), score_images=30))
    assert plan == {
        "budget": "filters",
        "before": 216,
        "left": 151,
        "least_that_can_be_left": 48,
        "groups": 4,
        "groups_left_out": [],
        "blocks": ["layer1.0"],
        "iterations": 2,
        "images_per_iteration": 30,
        "epochs": 1,
        "training_steps": 4,
    }
    assert not (tmp_path / "p").exists()


def test_the_table_of_layers_says_what_is_tied_and_why_it_stays(shards: Path, tmp_path: Path) -> None:
    stage.run(replace(config(shards, tmp_path / "p"), keep=("layer2.0.conv1",), repair="ls"))
    rows = list(csv.DictReader((tmp_path / "p/layers.csv").read_text().splitlines()))
    assert sum(int(row["outputs_before"]) for row in rows[:-1]) == 216
    assert rows[-1]["why_kept"] == "its outputs are the classes"
    for row in rows:
        narrower = int(row["outputs_after"]) < int(row["outputs_before"])
        assert narrower == (row["why_kept"] == "")
        assert int(row["macs_after"]) <= int(row["macs_before"])
        assert float(row["ms_before"]) > 0


def test_the_curve_has_a_budget_in_each_line(shards: Path, tmp_path: Path) -> None:
    found = stage.curve(replace(config(shards, tmp_path / "p"), macs=0.5))
    assert found["budget"] == "multiply-adds"
    assert found["measured"] == "agreement"
    assert found["left"] == sorted(found["left"], reverse=True)
    assert len(found["left"]) == len(found["accuracy"]) > 3
    assert all(0 <= share <= 1 for share in found["accuracy"])
    assert found["accuracy"][0] > found["accuracy"][-1]
    assert (tmp_path / "p/curve.svg").read_text().startswith("<svg ")


def test_a_run_that_goes_on_makes_the_cut_that_it_chose_by_the_clock(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Within reach on a busy machine too, where what layers cost beside their arithmetic varies.
    settings = replace(config(shards, tmp_path / "p"), latency=0.9, latency_batch=256, repair="ls", iterations=1)
    first = stage.run(settings)
    assert first.macs_after < first.macs_before
    assert first.latency_one_after_ms > 0
    weights = read_weights(tmp_path / "p" / MODEL_WEIGHTS)
    for name in ("report.json", "model.json", MODEL_WEIGHTS):
        (tmp_path / "p" / name).unlink()

    def unasked(*arguments: object, **named: object) -> None:
        raise AssertionError("it was chosen before")

    monkeypatch.setattr(schedule, "choose_part", unasked)
    again = stage.run(settings)
    assert again.macs_after == first.macs_after
    assert all(torch.equal(value, weights[key]) for key, value in read_weights(tmp_path / "p" / MODEL_WEIGHTS).items())

    damaged = (tmp_path / "p/choices.json").read_text().replace("removed", "renoved")
    (tmp_path / "p/choices.json").write_text(damaged)
    (tmp_path / "p/report.json").unlink()
    (tmp_path / "p/model.json").unlink()
    with pytest.raises(DreamError, match=r"choices.json is damaged .* --overwrite"):
        stage.run(settings)


def test_a_training_that_made_it_worse_is_told() -> None:
    sizes = [f"{what}_{when}" for what in ("filters", "parameters", "macs") for when in ("before", "after")]
    times = [f"latency_{one}{when}_ms" for one in ("", "one_") for when in ("before", "after")]
    record: dict[str, Any] = {**dict.fromkeys(sizes, 1), **dict.fromkeys(times, 1.0), "blocks_removed": ()}
    record |= {"top1_before": 0.9, "top1_raw": 0.1, "seconds": 1.0, "eval": "x"}

    def remark(ls: float | None, after: float | None) -> str | None:
        return PruneReport(**record, top1_ls=ls, top1_after=after).remark()

    assert remark(0.5, 0.5) is remark(0.5, 0.6) is remark(None, 0.1) is remark(0.5, None) is None
    told = remark(0.49, 0.416)
    assert told is not None
    assert "from 49.0% to 41.6%: --repair ls" in told
