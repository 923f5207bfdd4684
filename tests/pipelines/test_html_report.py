"""The page of a run: the same for the same run, and never the reason why a finished run fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dreamdistill.pipelines import html_report
from dreamdistill.pipelines.html_report import run_page, write_page
from dreamdistill.pipelines.plan import Pipeline, load_pipeline
from dreamdistill.pipelines.report import NetworkRow, PipelineReport, StageResult
from dreamdistill.shared.cli.effects import recorded_warnings, warn
from dreamdistill.shared.report.confusions import Confusion, Mistake

STAGES = {
    "synthetic": {"stage": "invert", "teacher": "digits_cnn", "images": 40},
    "student": {"stage": "distill", "shards": "synthetic", "flip": False, "epochs": 2},
    "pruned": {"stage": "prune", "shards": "synthetic", "ratio": 0.3},
}


@pytest.fixture
def pipeline(made_shards: Path, tmp_path: Path) -> Pipeline:
    """A run of which the shards are there, and one curve of two."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "synthetic").symlink_to(made_shards)
    for name in ("student", "pruned"):
        (out / name).mkdir()
    lines = [json.dumps({"epoch": n, "loss": 9.0 / n, "seconds": 1.0, "student_top1": 0.1 * n}) for n in (1, 2, 3)]
    (out / "student/metrics.jsonl").write_text("\n".join(lines))
    file = tmp_path / "a <b>.yaml"
    file.write_text(yaml.safe_dump({"out": str(out), "eval": "digits", "stages": STAGES}, sort_keys=False))
    return load_pipeline(str(file), {"seed": 3})


def report_of(pipeline: Pipeline, classes: int = 3) -> PipelineReport:
    counts = tuple(tuple(int(t == a) for a in range(classes)) for t in range(classes))
    confusion = Confusion(images=4, right=3, counts=counts if classes < 20 else (), mistakes=(_mistake(),))
    rows = [
        NetworkRow(name=name, top1=0.9, parameters=9, macs=5, bytes=36, latency_ms=1.0, seconds=None)
        for name in ("teacher", "student", "pruned")
    ]
    return PipelineReport(
        seconds=3.0,
        latency_batch=1,
        networks=tuple(rows),
        scores={},
        stages={
            stage.name: StageResult(
                stage=stage.kind, wall_seconds=1.0, result={"images": 40}, place="CPU", warnings=("<i>mind</i>",)
            )
            for stage in pipeline.stages
        },
        eval="digits",
        confusions={"teacher": confusion, "student": confusion},
        class_names=("<script>x</script>", "two\nlines", "three"),
    )


def _mistake() -> Mistake:
    return Mistake(true=0, answered=1, images=1)


@pytest.mark.parametrize("classes", [3, 30])
def test_a_page_has_all_sections_and_no_markup_of_others(pipeline: Pipeline, classes: int) -> None:
    page = run_page(pipeline, report_of(pipeline, classes))
    for title in ("Networks", "Images", "Training", "Confusion", "What was done", "Warnings"):
        assert f"<h2>{title}</h2>" in page
    assert "cannot be shown" not in page
    assert "<script" not in page
    assert "<i>mind" not in page
    assert "&lt;i&gt;mind&lt;/i&gt;" in page
    assert "<h1>a &lt;b&gt;</h1>" in page
    assert "--seed 3" in page
    assert "--no-flip" in page
    assert 'src="data:image/png;base64,' in page
    assert page == run_page(pipeline, report_of(pipeline, classes))


@pytest.mark.parametrize("content", [b"{", b"\xff\x00", b'{"epoch": "one"}\n', b'{"epoch": 1, "loss": NaN}'])
def test_a_damaged_curve_is_a_warning_in_the_page(pipeline: Pipeline, content: bytes) -> None:
    (pipeline.out / "pruned/metrics.jsonl").write_bytes(content)
    page = run_page(pipeline, report_of(pipeline))
    assert "The curve of pruned cannot be shown" in page
    assert "<polyline" in page  # the student's


def test_what_is_gone_is_a_warning_in_its_place(pipeline: Pipeline) -> None:
    (pipeline.out / "synthetic").unlink()
    page = run_page(pipeline, report_of(pipeline))
    assert "This cannot be shown: ConfigError" in page
    assert "<h2>Confusion</h2>" in page


def test_a_page_that_cannot_be_written_is_a_warning(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no page today")

    monkeypatch.setattr(html_report, "run_page", fail)
    write_page(pipeline, report_of(pipeline))
    assert "warning:" in capsys.readouterr().err
    assert not (pipeline.out / "report.html").exists()
    monkeypatch.undo()
    (pipeline.out / "report.html").mkdir()
    write_page(pipeline, report_of(pipeline))
    assert "is a folder" in capsys.readouterr().err


def test_warnings_are_kept_while_somebody_asks(capsys: pytest.CaptureFixture[str]) -> None:
    with recorded_warnings() as outer:
        warn("one")
        with recorded_warnings() as inner:
            warn("two")
    warn("three")
    assert (outer, inner) == (["one", "two"], ["two"])
    assert capsys.readouterr().err.count("warning:") == 3


def test_an_interrupted_run_knows_what_its_stages_said(
    di: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "p.yaml", tmp_path / "run"
    few = {"teacher": "digits_cnn", "images": 10, "shard_size": 10, "steps": 1, "workers": 1}
    stages = {
        "synthetic": {"stage": "invert", "recipe": "cifar10-deepinversion", **few},
        "student": {"stage": "distill", "shards": "synthetic", "epochs": 1, "mixup": 0, "shape_cutmix": 0.5},
        "last": {"stage": "distill", "shards": "synthetic", "epochs": 1},
    }
    file.write_text(yaml.safe_dump({"eval": "digits", "stages": stages}, sort_keys=False))
    with monkeypatch.context() as broken:
        broken.setattr("dreamdistill.pipelines.running.make_report", _interrupted)
        assert di("di-run", file, "--out", out).code == 1
    kept = json.loads((out / "unfinished.json").read_text())["stages"]
    assert kept["student"]["warnings"] == ["--shape-cutmix has no effect: --mixup is 0"]
    done = di("di-run", file, "--out", out, "--json")
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["stages"] == kept
    assert not (out / "unfinished.json").exists()
    assert report["warnings"] == [f"{name}: {text}" for name, each in kept.items() for text in each["warnings"]]
    page = (out / "report.html").read_text()
    again = json.loads(di("di-run", file, "--out", out, "--json").stdout)
    assert (again["stages"], again["confusions"]) == (report["stages"], report["confusions"])
    assert len((out / "report.html").read_text()) == pytest.approx(len(page), rel=0.01)
    assert "What was done" in page


def _interrupted(*_: object) -> None:
    raise RuntimeError("killed")
