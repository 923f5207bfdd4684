"""``di-run compress``: what it chooses, the file that it writes, and the run from a network to an int8 file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamdistill.invert.plan import IMAGES_PER_SHARD
from dreamdistill.pipelines.compress import choosing
from dreamdistill.pipelines.compress.choosing import ENOUGH, FEWEST, FEWEST_STEPS, Rates, choose
from dreamdistill.pipelines.compress.config import CompressConfig
from dreamdistill.pipelines.plan import load_pipeline
from dreamdistill.shared.core.config import from_mapping
from dreamdistill.shared.core.errors import ConfigError


def rates(**changed: float) -> Rates:
    return Rates(**{"image": 0.1, "step": 0.1, "rest": 50.0, "workers": 2, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [120, 300, 900, 7200])
@pytest.mark.parametrize("image", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("workers", [1, 4])
def test_what_is_chosen_fits_into_the_time(seconds: float, image: float, workers: int) -> None:
    cost = rates(image=image, workers=workers)
    try:
        choice = choose(cost, seconds=seconds, num_classes=10)
    except ConfigError:
        assert (seconds, image) in [(120, 0.5), (120, 1.0)]
        return
    spent = choice.shortened * cost.seconds_for_images(choice.images) + choice.steps * cost.step + cost.rest
    assert spent == pytest.approx(choice.seconds, abs=0.1)
    assert spent <= seconds
    assert FEWEST <= choice.images <= 1024
    assert choice.steps == choice.epochs * -(-choice.images // 32)


def test_more_time_is_more_images_and_then_more_steps() -> None:
    chosen = [choose(rates(image=0.5), seconds=60 * minutes, num_classes=10) for minutes in (3, 6, 15, 60)]
    assert [each.images for each in chosen] == sorted(each.images for each in chosen)
    assert [each.steps for each in chosen] == sorted(each.steps for each in chosen)
    assert chosen[-1].images == 1024
    assert chosen[-1].steps <= 8000


def test_where_time_is_short_images_get_fewer_steps_before_they_become_few() -> None:
    choice = choose(rates(image=1.0, workers=1), seconds=520, num_classes=10)
    assert (choice.images, choice.shortened) == (ENOUGH, 0.5)


def test_many_classes_get_more_images() -> None:
    assert choose(rates(image=0.001), seconds=3600, num_classes=1000).images == 16_000


def test_too_little_time_names_what_would_do() -> None:
    cost = rates(image=1.0)
    with pytest.raises(ConfigError, match=r"--minutes 1 is too little .* it needs 2"):
        choose(cost, seconds=60, num_classes=10)
    assert choose(cost, seconds=120, num_classes=10).steps >= FEWEST_STEPS - 32


def test_shards_are_made_side_by_side() -> None:
    cost = rates(image=1.0, workers=2)
    assert cost.seconds_for_images(IMAGES_PER_SHARD) == IMAGES_PER_SHARD
    assert cost.seconds_for_images(2 * IMAGES_PER_SHARD) == IMAGES_PER_SHARD
    assert cost.seconds_for_images(3 * IMAGES_PER_SHARD) == 2 * IMAGES_PER_SHARD
    assert cost.seconds_for_images(64) == 64


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("0.5", "must be one of"),
        ("mac=0.5", "did you mean 'macs'"),
        ("macs=2", "--macs"),
        ("macs=half", "--macs"),
        ("latency=", "--latency"),
    ],
)
def test_a_target_is_a_budget_of_di_prune(target: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        from_mapping(CompressConfig, {"teacher": "digits_cnn", "target": target})


def test_from_a_network_to_files(
    di: Callable, fails: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "FIXED", 0.0)
    monkeypatch.setattr(choosing, "FEWEST", 32)
    out = tmp_path / "out"
    asked = ["compress", "--teacher", "digits_cnn", "--eval", "digits", "--no-flip", "--out", out, "--minutes", "0.6"]
    plan = di("di-run", *asked, "--dry-run", "--json")
    assert plan.code == 0, plan.stderr
    assert not out.exists()
    assert json.loads(plan.stdout)["recipe"] == "natural"

    done = di("di-run", *asked, "--json")
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["macs_after"] <= 0.5 * report["macs_before"]
    assert report["top1_after"] > 0.7
    assert abs(report["top1_float"] - report["top1_after"]) < 0.005
    assert Path(report["file"]).stat().st_size == report["bytes"]
    assert Path(report["file_int8"]).stat().st_size == report["bytes_int8"] < report["bytes"]
    page = Path(report["page"]).read_text()
    assert "onnx int8" in page
    assert "di-model export" in page

    # The same command goes on with what was chosen, however fast the machine is now.
    chosen = (out / "compress.yaml").read_text()
    again = di("di-run", *asked, "--json")
    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["seconds"] == report["seconds"]
    assert (out / "compress.yaml").read_text() == chosen
    assert [stage.kind for stage in load_pipeline(str(out / "compress.yaml"), {}).stages] == [
        "invert",
        "prune",
        "export",
    ]
    stderr = fails("di-run", *asked[:-1], "0.4", code=2, says=["another run", "--no-flip", "--overwrite"])
    assert "compress:" not in stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--teacher", "digits_cnn", "--minutes", "0.1"], ["--minutes 0.1 is too little"]),
        (["--teacher", "digits_cnn", "--target", "params=0.001"], ["--target params=0.001", "most that works"]),
        (["--teacher", "digits_cnn", "--eval", "nowhere"], ["nowhere"]),
        (["--teacher", "nowhere"], ["nowhere"]),
        ([], ["--teacher is required"]),
        (["--teacher", "digits_cnn", "--minutes", "0"], ["--minutes"]),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    fails: Callable, tmp_path: Path, arguments: list[str], says: list[str]
) -> None:
    out = tmp_path / "out"
    fails("di-run", "compress", *arguments, "--out", out, code=2, says=says)
    assert not out.exists()
