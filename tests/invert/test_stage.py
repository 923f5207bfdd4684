"""The stage from Python: the range of pixels, a teacher in memory, dry runs, and jobs that were started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.engine import Engine, batch_seed
from dreamdistill.invert.parametrization import PARAMETRIZATIONS
from dreamdistill.invert.recipe import RECIPES
from dreamdistill.invert.stage import dry_run, run
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.shards.folder import ShardFolder


def config(out: Path, **changes: Any) -> InvertConfig:
    settings: dict[str, Any] = {"teacher": "digits_cnn", "changes": {"steps": (3,)}, "images": 12, "shard_size": 4}
    return InvertConfig(**{**settings, "out": out, **changes})


@pytest.fixture
def in_memory() -> Classifier:
    """A network that no name loads."""
    loaded = load_model("digits_cnn")
    made = Classifier(loaded.network, mean=(0.305,), std=(0.376,), image_size=8)
    assert made.name is None
    return made


def tars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


# The range of pixels


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_clipped_images_are_stored_as_they_were_optimised(parametrization: str, tmp_path: Path) -> None:
    """Digits are dark, as Fashion-MNIST's images are: without ``clip``, many pixels would be below black."""
    changes = {"recipe": "natural", "images": 30, "shard_size": 20, "workers": 1}
    recipe = {"steps": (20,), "parametrization": parametrization, "batch_size": 10}
    within = run(config(tmp_path / "within", **changes, changes=recipe))
    beyond = run(config(tmp_path / "beyond", **changes, changes={**recipe, "clip": False}))
    assert within.clipped == 0
    assert beyond.clipped is not None
    assert beyond.clipped > 0.1
    assert ShardFolder.open(tmp_path / "beyond").clipped == beyond.clipped


@pytest.mark.cpu
def test_clipped_is_the_share_of_values_of_the_images_that_are_kept(tmp_path: Path) -> None:
    """The last batch of a shard has more images than are stored."""
    made = run(config(tmp_path / "out", recipe="noise", changes={"batch_size": 4}, images=7, shard_size=7, workers=1))
    teacher = load_model("digits_cnn")
    engine = Engine(teacher, RECIPES["noise"])
    seeds = [batch_seed(seed=0, round=0, shard=0, batch=batch, attempt=0) for batch in range(2)]
    x_NCHW = torch.cat([engine.synthesize(torch.zeros(4, dtype=torch.long), seed=seed).x for seed in seeds])
    assert made.clipped == pytest.approx(teacher.preprocessing.share_clipped(x_NCHW[:7]))
    assert made.clipped != pytest.approx(teacher.preprocessing.share_clipped(x_NCHW))


# A teacher in memory


def test_a_network_in_memory_makes_the_same_shards_as_its_name(in_memory: Classifier, tmp_path: Path) -> None:
    run(config(tmp_path / "named", workers=1))
    report = run(config(tmp_path / "unnamed", teacher="unused"), in_memory)
    assert report.shards == 3
    assert tars(tmp_path / "unnamed") == tars(tmp_path / "named")
    again = run(config(tmp_path / "named", workers=1), in_memory)  # the weights identify the teacher, not the name
    assert again.shards == 3


@pytest.mark.parametrize("changes", [{"workers": 2}, {"engine": "ray"}])
def test_a_network_in_memory_works_with_one_worker_only(
    in_memory: Classifier, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"pass workers=1, or give it as FILE\.py:factory"):
        run(config(tmp_path / "out", **changes), in_memory)
    assert not (tmp_path / "out").exists()


def test_a_loaded_teacher_with_a_name_works_with_several_workers(tmp_path: Path) -> None:
    report = run(config(tmp_path / "out", workers=2), load_model("digits_cnn"))
    assert report.shards == 3


def test_a_run_says_where_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    run(config(out, workers=1))
    assert "going on" not in capsys.readouterr().err
    (out / "000001.json").unlink()
    run(config(out, workers=1))
    assert "invert: going on at shard 3 of 3" in capsys.readouterr().err.splitlines()


# Dry runs


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if anything is compiled."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a dry run must not compile")

    monkeypatch.setattr(torch, "compile", fail)


@pytest.mark.usefixtures("untouched")
def test_a_dry_run_times_a_few_steps_and_leaves_everything_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps: list[int] = []
    synthesize = Engine.synthesize

    def counted(self: Engine, targets_N: torch.Tensor, **options: Any) -> Any:
        steps.extend(len(targets_N) for _ in self.recipe.steps)
        return synthesize(self, targets_N, **options)

    monkeypatch.setattr(Engine, "synthesize", counted)
    torch.set_num_threads(2)
    plan = dry_run(config(tmp_path / "out", compile="on", threads=1, workers=2, changes={"steps": (100_000,)}))
    assert steps == [1, 1, 4]  # batches: to warm up, timed, timed as a whole
    assert torch.get_num_threads() == 2
    assert not (tmp_path / "out").exists()
    assert (plan["shards_to_write"], plan["images"], plan["workers"], plan["compile"]) == (3, 12, 2, True)
    assert plan["seconds"] > 0
    assert "not compiled" in plan["not_known"]


def test_a_dry_run_that_knows_everything_says_so(tmp_path: Path) -> None:
    assert dry_run(config(tmp_path / "out"))["not_known"] is None


@pytest.mark.usefixtures("untouched")
def test_a_dry_run_joins_no_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra")
    plan = dry_run(config(tmp_path / "out", engine="ray", address="127.0.0.1:1"))
    assert (plan["workers"], plan["seconds"], plan["compile"], plan["precision"]) == (None, None, None, None)
    assert plan["shards_to_write"] == 3
    assert "Ray cluster" in plan["not_known"]
    assert not (tmp_path / "out").exists()


# Jobs that were started again


@pytest.mark.parametrize("variable", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_a_job_that_was_started_again_deletes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    out = tmp_path / "out"
    run(config(out, workers=1))
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    overwriting = config(out, workers=1, overwrite=True)
    monkeypatch.setenv(variable, "1")
    assert run(overwriting).shards == 3
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.tar")} == before
    monkeypatch.delenv(variable)
    run(overwriting)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.tar")} != before
