"""di-model on a network that was really pruned: shown, measured, and run where dreamdistill is not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Di, Fails, contents

import dreamdistill as dd
from dreamdistill.shared.data.digit_set import load_digits

# Run by a Python that cannot import dreamdistill: the file, logits of 8 digits -> out.npy.
ONNX = "import onnxruntime; out = onnxruntime.InferenceSession(file).run(None, {'images': x})[0]"
PT2 = "import torch; out = torch.export.load(file).module()(torch.from_numpy(x)).numpy()"
STATE = (
    "import torch; sys.path.insert(0, folder); from model import load;"
    " out = load(file)(torch.from_numpy(x)).detach().numpy()"
)


@pytest.fixture(scope="module")
def pruned(run_undisturbed: Callable[..., None], made_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "pruned"
    options = ["--shards", made_shards, "--ratio", 0.3, "--repair", "ls", "--out", out]
    run_undisturbed("di-prune", *options)
    return out


def elsewhere(code: str, file: Path, x_NCHW: np.ndarray[Any, Any], folder: Path) -> np.ndarray[Any, Any]:
    """What the file gives in a process that has no dreamdistill."""
    np.save(folder / "x.npy", x_NCHW)
    script = (
        "import sys, numpy; sys.modules['dreamdistill'] = None; folder, file = sys.argv[1:];"
        f" x = numpy.load(folder + '/x.npy'); {code}; numpy.save(folder + '/out.npy', out)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder), str(file)], check=True, cwd=folder)
    return np.load(folder / "out.npy")


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(test=True)
    return images[:, None], labels


@pytest.mark.cpu
@pytest.mark.parametrize(("format", "code"), [("onnx", ONNX), ("pt2", PT2), ("state_dict", STATE)])
@pytest.mark.parametrize("normalize", [False, True])
def test_an_exported_network_runs_elsewhere(
    di: Di, pruned: Path, tmp_path: Path, format: str, code: str, normalize: bool
) -> None:
    suffix = {"onnx": "onnx", "pt2": "pt2", "state_dict": "pth"}[format]
    file = tmp_path / f"model.{suffix}"
    folded = ["--normalize"] if normalize else []
    exit_code, stdout, _ = di("di-model", "export", pruned, "--format", format, "--out", file, "--json", *folded)
    assert exit_code == 0
    report = json.loads(stdout)
    assert report["file"] == str(file)
    assert report["bytes"] == file.stat().st_size
    assert report["max_difference"] <= 1e-4

    model = dd.load(pruned)
    pixels_NCHW = digits()[0][:8]
    x_NCHW = pixels_NCHW.float() if normalize else model.preprocessing.normalize(pixels_NCHW)
    found = elsewhere(code, file, x_NCHW.numpy(), tmp_path)
    assert np.abs(found - model.logits(pixels_NCHW).numpy()).max() <= 1e-4


def test_int8_is_calibrated_on_the_shards_and_compared(di: Di, pruned: Path, made_shards: Path, tmp_path: Path) -> None:
    options = ["--int8", "--shards", made_shards, "--eval", "digits", "--out", tmp_path / "m.onnx"]
    code, stdout, _ = di("di-model", "export", pruned, "--json", *options)
    assert code == 0
    report = json.loads(stdout)
    whole = dd.load(pruned).evaluate("digits").top1
    assert report["top1"] == pytest.approx(whole)
    assert report["top1_int8"] >= whole - 0.05
    assert report["agreement_int8"] >= 0.9
    assert report["latency_ms"] > 0
    assert report["latency_int8_ms"] > 0
    assert Path(report["file_int8"]).stat().st_size == report["bytes_int8"] < report["bytes"]


def test_a_file_of_a_fixed_batch_is_measured_too(di: Di, pruned: Path, made_shards: Path, tmp_path: Path) -> None:
    options = ["--batch", 7, "--int8", "--shards", made_shards, "--eval", "digits", "--out", tmp_path / "m.onnx"]
    code, stdout, _ = di("di-model", "export", pruned, "--json", *options)
    assert code == 0
    assert json.loads(stdout)["top1"] == pytest.approx(dd.load(pruned).evaluate("digits").top1)


def test_the_metadata_say_how_to_use_the_file(di: Di, pruned: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    assert di("di-model", "export", pruned, "--out", tmp_path / "m.onnx").code == 0  # type: ignore[attr-defined]
    entries = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    model = dd.load(pruned)
    assert entries["input"] == "(pixels / 255 - mean) / std"
    assert json.loads(entries["mean"]) == list(model.preprocessing.mean)
    assert entries["channels"] == "grey"
    assert entries["image_size"] == "8"


@pytest.mark.cpu
def test_evaluate_counts_every_image_once(di: Di, pruned: Path) -> None:
    options = ["--eval", "digits", "--teacher", "digits_cnn"]
    code, stdout, _ = di("di-model", "evaluate", pruned, "--json", *options)
    assert code == 0
    found = json.loads(stdout)
    pixels_NCHW, labels = digits()
    logits, teacher = dd.load(pruned).logits(pixels_NCHW), dd.load("digits_cnn").logits(pixels_NCHW)
    given = logits.argmax(1)
    assert found["images"] == 450
    assert found["top1"] == pytest.approx(float((given == labels).float().mean()))
    assert found["top5"] == pytest.approx(float((logits.topk(5).indices == labels[:, None]).any(1).float().mean()))
    assert found["agreement"] == pytest.approx(float((given == teacher.argmax(1)).float().mean()))
    expected = torch.zeros(10, 10, dtype=torch.int64)
    for true, answer in zip(labels.tolist(), given.tolist(), strict=True):
        expected[true, answer] += 1
    assert found["confusion"] == expected.tolist()


def test_show_says_what_it_is_and_where_from(di: Di, pruned: Path, made_shards: Path) -> None:
    code, stdout, _ = di("di-model", "show", pruned, "--json")
    assert code == 0
    found = json.loads(stdout)
    assert found["architecture"] == "digits_cnn"
    assert str(made_shards) in found["made_with"]
    assert found["classes"] == 10
    layers = {layer["layer"]: layer for layer in found["layers"]}
    state = dd.load(pruned).network.state_dict()
    assert all(state[f"{name}.weight"].shape[0] == layer["outputs"] for name, layer in layers.items())
    code, stdout, _ = di("di-model", "show", pruned)
    assert all(name in stdout for name in layers)


def test_a_page_shows_what_was_measured(di: Di, pruned: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert di("di-model", "report", pruned, "--eval", "digits", "--out", page)[0] == 0
    text = page.read_text()
    assert f"{100 * dd.load(pruned).evaluate('digits').top1:.2f} %" in text
    assert "Confusion" in text
    layers = [name for name, value in dd.load(pruned).network.named_parameters() if value.ndim > 1]
    assert all(name.removesuffix(".weight") in text for name in layers)
    assert "<script" not in text


def test_bad_input(fails: Fails, pruned: Path, made_shards: Path, tmp_path: Path) -> None:
    before = contents(pruned)
    for arguments, words in [
        (["show", tmp_path / "none"], ["none"]),
        (["export", "digits_cnn"], ["--out"]),
        (["export", pruned, "--int8"], ["--shards"]),
        (["export", pruned, "--shards", made_shards], ["--int8"]),
        (["export", pruned, "--format", "pt2", "--eval", "digits"], ["--format onnx"]),
        (["export", pruned, "--batch", "0"], ["--batch"]),
        (["export", pruned, "--batch", "many"], ["--batch"]),
        (["export", pruned, "--format", "onx"], ["onnx"]),
        (["export", pruned, "--out", tmp_path / "no" / "m.onnx"], ["no folder"]),
        (["export", pruned, "--out", tmp_path], ["no file"]),
        (["export", pruned, "--int8", "--shards", tmp_path], ["no shard folder"]),
        (["export", pruned, "--eval", tmp_path / "none"], ["none"]),
        (["evaluate", pruned], ["--eval"]),
        (["report", "digits_cnn"], ["--out"]),
        (["report", pruned, "--out", tmp_path], ["no file"]),
        (["evaluate", pruned, "--eval", "digits", "--teacher", "digits_cn"], ["digits_cnn"]),
        (["evaluate", pruned, "--eval", "digits", "--teacher-weights", "x.pth"], ["--teacher"]),
    ]:
        fails("di-model", *arguments, code=2, says=words)
    assert contents(pruned) == before


def test_python_does_the_same(pruned: Path, made_shards: Path, tmp_path: Path) -> None:
    report = dd.load(pruned).export(tmp_path / "m.onnx", shards=made_shards, normalize=True)
    assert report.agreement_int8 is not None
    assert Path(report.file).is_file()
    with pytest.raises(dd.ConfigError, match=r"\.onnx, \.pt2, \.pth"):
        dd.load(pruned).export(tmp_path / "m.tflite")
