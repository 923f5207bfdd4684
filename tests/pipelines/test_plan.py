"""Pipeline files: what they are read as, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamdistill.pipelines.plan import Pipeline, load_pipeline
from dreamdistill.shared.core.errors import ConfigError

INVERT = {"teacher": "digits_cnn", "images": 40}
ADAPT = {"stage": "adapt", "rounds": 3, "invert": INVERT, "distill": {"student": "digits_cnn_small", "epochs": 2}}


def load(folder: Path, stages: dict[str, Any], **others: Any) -> Pipeline:
    file = folder / "some.yaml"
    file.write_text(yaml.safe_dump({"out": "runs/some", **others, "stages": stages}, sort_keys=False))
    return load_pipeline(str(file), {})


def test_adapt_is_rounds_and_students_in_turn(tmp_path: Path) -> None:
    last = {"stage": "distill", "shards": "synthetic", "init": "synthetic_student_2"}
    pipeline = load(tmp_path, {"synthetic": ADAPT, "student": last}, seed=3)
    out = Path("runs/some")
    assert [(stage.name, stage.kind) for stage in pipeline.stages] == [
        ("synthetic_1", "invert"),
        ("synthetic_student_1", "distill"),
        ("synthetic_2", "invert"),
        ("synthetic_student_2", "distill"),
        ("synthetic_3", "invert"),
        ("student", "distill"),
    ]
    first, student_1, second, student_2, third, student = (stage.config for stage in pipeline.stages)
    assert {stage.config.seed for stage in pipeline.stages} == {3}
    assert {first.out, second.out, third.out, student.shards, student_1.shards} == {out / "synthetic"}
    assert [c.append for c in (first, second, third)] == [False, True, True]
    assert [c.compete_with for c in (first, second, third)] == [None, *(str(s.out) for s in (student_1, student_2))]
    assert [stage.round for stage in pipeline.stages if stage.kind == "invert"] == [0, 1, 2]
    assert [c.rounds for c in (student_1, student_2, student)] == [1, 2, None]
    assert [c.init for c in (student_1, student_2, student)] == [None, student_1.out, student_2.out]
    assert (student_1.student, student_2.student) == ("digits_cnn_small", None)  # the second goes on with the first
    assert pipeline.shard_folders == [out / "synthetic"]


@pytest.mark.parametrize("name", ["alpha_compete", "alpha-compete"])
def test_the_first_round_of_an_adapt_has_none_to_compete_against(tmp_path: Path, name: str) -> None:
    pipeline = load(tmp_path, {"synthetic": {**ADAPT, "invert": {**INVERT, name: 5}}})
    weights = [stage.config.changes.get("alpha_compete") for stage in pipeline.stages if stage.kind == "invert"]
    assert weights == [None, 5, 5]


def test_overwriting_an_adapt_clears_its_folder_once(tmp_path: Path) -> None:
    pipeline = load(tmp_path, {"synthetic": ADAPT}, overwrite=True)
    assert [stage.config.overwrite for stage in pipeline.stages] == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 1}, "rounds"),
        ({"rounds": "many"}, "rounds"),
        ({"invert": None}, "'invert:' and 'distill:'"),
        ({"epochs": 3}, "unknown option 'epochs'"),
        ({"invert": {**INVERT, "append": True}}, "'append' .* set by adapt"),
        ({"invert": {**INVERT, "imagse": 3}}, "did you mean 'images'"),
        ({"distill": {"shards": "there"}}, "'shards' .* set by adapt"),
    ],
)
def test_an_adapt_that_cannot_be(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, {"synthetic": {**ADAPT, **change}})


def test_two_stages_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two stages 'synthetic_1'"):
        load(tmp_path, {"synthetic": ADAPT, "synthetic_1": {"stage": "invert", **INVERT}})


def test_score_names_what_to_measure_with(tmp_path: Path) -> None:
    stages = {"synthetic": {"stage": "invert", **INVERT}}
    assert load(tmp_path, stages).score is None
    scored = load(tmp_path, stages, score={"real": "digits"}).score
    assert scored is not None
    assert scored.real == "digits"
    with pytest.raises(ConfigError, match="did you mean 'verifier'"):
        load(tmp_path, stages, score={"verifer": "x"})
    with pytest.raises(ConfigError, match="'score:'"):
        load(tmp_path, stages, score="digits")
