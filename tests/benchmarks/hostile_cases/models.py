"""Hostile saved models, and result folders that a command is to go on with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from . import base as b
from .base import Base, Case
from .folders import names, put_strangers
from .json_mutations import Text, as_text, changed, mutations
from .weights import hostile_safetensors

AS_TEACHER = ("di-invert", "--teacher", "model", *b.ROUND[:-1], "made")
AS_STUDENT = ("di-distill", "--shards", "shards", "--init", "model", *b.QUICK, "--loader", "webdataset", "--out", "out")
AS_RIVAL = ("di-invert", "--teacher", "digits_cnn", "--compete-with", "model", "--dry-run", "--out", "made")
AS_VERIFIER = ("di-shards", "score", "shards", "--verifier", "model")
WAYS = (AS_TEACHER, AS_STUDENT, AS_RIVAL, AS_VERIFIER)


def cases(base: Base) -> Iterator[Case]:
    turn = cycle(WAYS)
    for name, text in mutations(base.json("model/model.json"), deep=1):
        yield _model(base, name, "model.json", lambda path, text=text: b.put_text(path, text), next(turn), next(turn))
    for name, text in (*_channels(base), *_dropped(base)):
        yield _model(base, name, "model.json", lambda path, text=text: b.put_text(path, text), *WAYS[:2])
    for name, put in b.strange_files():
        yield _model(base, f"model.json: {name}", "model.json", put, next(turn), next(turn))
        yield _model(base, f"weights: {name}", "model.safetensors", put, next(turn), next(turn))
    for name, data in hostile_safetensors((base.root / "model/model.safetensors").read_bytes()).items():
        put = lambda path, data=data: path.write_bytes(data)  # noqa: E731
        yield _model(base, f"weights: {name}", "model.safetensors", put, next(turn), next(turn))
    yield from _architectures(base)
    yield from _results(base)


def _model(base: Base, name: str, file: str, put: b.Put, *runs: tuple[str, ...]) -> Case:
    def make(folder: Path) -> None:
        base.copy(folder, "shards")
        put(base.copy(folder, "model") / file)

    return Case(kind="model", name=name, make=make, runs=runs)


def _channels(base: Base) -> Iterator[tuple[str, str]]:
    record = base.json("model/model.json")
    first, widths = next(iter(record["channels"].items()))
    values: dict[str, Any] = {
        "huge widths": [10**6, 10**6, 1],
        "widths of 10^12": [10**12, 10**12, 1],
        "widths of 10^30": [10**30] * 3,
        "negative": [-4, 1, 1],
        "zero": [0, 0, 0],
        "no groups": [*widths[:2], 0],
        "odd groups": [*widths[:2], 7],
        "too few": widths[:1],
        "none": [],
        "list of 100,000": [1] * 100_000,
        "texts": ["1"] * 3,
        "fractions": [1.5] * 3,
    }
    for name, value in values.items():
        yield f"channels: {name}", as_text(changed(record, ("channels", first), value))
    yield "channels: unknown layer", as_text({**record, "channels": {"__class__": [1]}})
    yield "channels: the network itself", as_text({**record, "channels": {"": [1]}})
    yield "channels: markup", as_text({**record, "channels": {"[/]\x1b[2J\n": [1]}})


def _dropped(base: Base) -> Iterator[tuple[str, str]]:
    record = base.json("model/model.json")
    block = "layer1.0"
    values: dict[str, Any] = {
        "unknown": ["__class__"],
        "the network itself": [""],
        "a layer with weights": [block],
        "a layer without weights": [f"{block}.shortcut"],
        "the classifier": ["linear"],
        "twice": [block, block],
        "a part of another": [f"{block}.conv1", block],
        "markup": ["[/]\x1b[2J\n"],
        "empty parts": ["." * 4000],
        "list of 100,000": [str(number) for number in range(100_000)],
        "many parts": [".".join(["x"] * 2000) + str(number) for number in range(4000)],
    }
    for name, value in values.items():
        yield f"dropped: {name}", as_text({**record, "dropped": value})


def _architectures(base: Base) -> Iterator[Case]:
    record = base.json("model/model.json")
    for what in names(Path("/x")):

        def make(folder: Path, what: str = what) -> None:
            base.copy(folder, "shards")
            put_strangers(base, folder)
            named = changed(record, ("architecture",), names(folder)[what])
            b.put_text(base.copy(folder, "model") / "model.json", as_text(named))

        yield Case(kind="architecture", name=what, make=make, runs=WAYS)


def _results(base: Base) -> Iterator[Case]:
    """Files of a result folder, finished or stopped, that the same command is given again."""
    for file in ("config.yaml", "report.json", "metrics.jsonl", "checkpoint.pt", "model.json", "model.safetensors"):
        for folder_name, run in (("model", b.RESUME), ("stopped", b.GO_ON)):
            if not (base.root / folder_name / file).exists():
                continue
            for name, put in b.strange_files():

                def make(folder: Path, put: b.Put = put, file: str = file, of: str = folder_name) -> None:
                    base.copy(folder, "shards")
                    put(base.copy(folder, of) / file)

                yield Case(kind="result", name=f"{folder_name}/{file}: {name}", make=make, runs=(run,))
    for name, text in mutations(base.json("model/report.json")):

        def make_report(folder: Path, text: Text = text) -> None:
            base.copy(folder, "shards")
            b.put_text(base.copy(folder, "model") / "report.json", text)

        yield Case(kind="result", name=f"report: {name}", make=make_report, runs=(b.RESUME,))
    yield from _checkpoints(base)


def _checkpoints(base: Base) -> Iterator[Case]:
    import torch

    def changed_checkpoint(change: Callable[[dict[str, Any]], Any]) -> b.Put:
        def put(path: Path) -> None:
            torch.save(change(torch.load(path, weights_only=True)), path)

        return put

    line = {"epoch": 1, "loss": 1.0, "seconds": 0.1}
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "no history": lambda saved: {name: part for name, part in saved.items() if name != "history"},
        "history no list": lambda saved: {**saved, "history": 7},
        "history of texts": lambda saved: {**saved, "history": ["[/]\x1b[2J"]},
        "history too long": lambda saved: {**saved, "history": [line] * 10_000},
        "history without seconds": lambda saved: {**saved, "history": [{"epoch": 1}]},
        "seconds no number": lambda saved: {**saved, "history": [{**line, "seconds": "x"}]},
        "no loader": lambda saved: {name: part for name, part in saved.items() if name != "loader"},
        "loader of texts": lambda saved: {**saved, "loader": {"epoch": "x", "dali": [b"x"], "selective": 1}},
        "loader of 10^12 epochs": lambda saved: {**saved, "loader": dict.fromkeys(saved["loader"], 10**12)},
        "negative epochs": lambda saved: {**saved, "loader": dict.fromkeys(saved["loader"], -5)},
        "no network": lambda saved: {**saved, "network": {}},
        "only a list": lambda saved: [1],
        "optimizer of nothing": lambda saved: {**saved, "optimizer 0": {"state": {}, "param_groups": []}},
    }
    puts = {name: changed_checkpoint(change) for name, change in changes.items()}
    puts["pickled code"] = lambda path: torch.save({"history": b.Pickled(path.parent.parent / b.MARKER)}, path)
    puts["rights taken"] = lambda path: os.chmod(path, 0)
    for name, put in puts.items():

        def make(folder: Path, put: b.Put = put) -> None:
            base.copy(folder, "shards")
            put(base.copy(folder, "stopped") / "checkpoint.pt")

        yield Case(kind="result", name=f"checkpoint: {name}", make=make, runs=(b.GO_ON,))
