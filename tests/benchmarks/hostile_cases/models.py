"""Hostile saved models, weights files, and result folders that a command is to go on with."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from . import base as b
from .base import Base, Case
from .folders import names, put_strangers
from .json_mutations import as_text, changed, mutations

AS_TEACHER = ("di-invert", "--teacher", "model", *b.ROUND[:-1], "made")
AS_STUDENT = ("di-distill", "--shards", "shards", "--init", "model", *b.QUICK, "--loader", "webdataset", "--out", "out")
AS_RIVAL = ("di-invert", "--teacher", "digits_cnn", "--compete-with", "model", "--dry-run", "--out", "made")
AS_VERIFIER = ("di-shards", "score", "shards", "--verifier", "model")
WAYS = (AS_TEACHER, AS_STUDENT, AS_RIVAL, AS_VERIFIER)


def cases(base: Base) -> Iterator[Case]:
    turn = cycle(WAYS)
    for name, text in mutations(base.json("model/model.json"), deep=1):
        yield _model(base, name, "model.json", lambda path, text=text: b.put_text(path, text), next(turn), next(turn))
    for name, text in _channels(base):
        yield _model(base, name, "model.json", lambda path, text=text: b.put_text(path, text), *WAYS[:2])
    for name, put in b.strange_files():
        yield _model(base, f"model.json: {name}", "model.json", put, next(turn), next(turn))
        yield _model(base, f"weights: {name}", "model.safetensors", put, next(turn), next(turn))
    for name, data in hostile_safetensors((base.root / "model/model.safetensors").read_bytes()).items():
        put = lambda path, data=data: path.write_bytes(data)  # noqa: E731
        yield _model(base, f"weights: {name}", "model.safetensors", put, next(turn), next(turn))
    yield from _architectures(base)
    yield from _weights(base)
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
        "many": [1] * 100_000,
        "texts": ["1"] * 3,
        "fractions": [1.5] * 3,
    }
    for name, value in values.items():
        yield f"channels: {name}", as_text(changed(record, ("channels", first), value))
    yield "channels: unknown layer", as_text({**record, "channels": {"__class__": [1]}})
    yield "channels: the network itself", as_text({**record, "channels": {"": [1]}})
    yield "channels: markup", as_text({**record, "channels": {"[/]\x1b[2J\n": [1]}})


def _architectures(base: Base) -> Iterator[Case]:
    record = base.json("model/model.json")
    for what in names(Path("/x")):

        def make(folder: Path, what: str = what) -> None:
            base.copy(folder, "shards")
            put_strangers(base, folder)
            named = changed(record, ("architecture",), names(folder)[what])
            b.put_text(base.copy(folder, "model") / "model.json", as_text(named))

        yield Case(kind="architecture", name=what, make=make, runs=WAYS)


def hostile_safetensors(whole: bytes) -> dict[str, bytes]:
    """Weights files whose header does not fit what follows, or lies."""
    (length,) = struct.unpack("<Q", whole[:8])
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    key = next(key for key in header if key != "__metadata__")

    def built(change: dict[str, Any]) -> bytes:
        text = json.dumps({**header, **change}).encode()
        return struct.pack("<Q", len(text)) + text + body

    old = header[key]
    return {
        "header of 2^63": struct.pack("<Q", 2**63) + whole[8:],
        "header of 100 MB": struct.pack("<Q", 10**8) + whole[8:],
        "header of nothing": struct.pack("<Q", 0) + whole[8:],
        "cut in the header": whole[:20],
        "cut in the values": whole[:-100],
        "offsets beyond": built({key: {**old, "data_offsets": [0, 2**40]}}),
        "offsets backwards": built({key: {**old, "data_offsets": [100, 0]}}),
        "offsets overlap": built({key: header[list(header)[-1]]}),
        "offsets negative": built({key: {**old, "data_offsets": [-8, 8]}}),
        "shape huge": built({key: {**old, "shape": [2**40, 2**40]}}),
        "dtype unknown": built({key: {**old, "dtype": "X8"}}),
        "dtype I64": built({key: {**old, "dtype": "I64"}}),
        "extra key": built({"\x1b[2J[/]\n": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}),
        "key renamed": built({key: {**old}}).replace(key.encode(), b"x" * len(key)),
        "metadata": built({"__metadata__": {"format": "pt", "x": "y" * 100_000}}),
        "NaN": whole[: 8 + length] + b"\xff" * len(body),
        "header no mapping": struct.pack("<Q", 2) + b"[]",
        "nothing at all": struct.pack("<Q", 2) + b"{}",
    }


def _weights(base: Base) -> Iterator[Case]:
    """Weights files in torch's format, given by name."""
    for name, save in _torch_files().items():

        def make(folder: Path, save: Callable[[Path], None] = save) -> None:
            base.copy(folder, "shards")
            save(folder / "w.pth")

        runs = (
            ("di-invert", "--teacher", "digits_cnn", "--weights", "w.pth", *b.ROUND[:-1], "made"),
            ("di-shards", "score", "shards", "--verifier", "digits_cnn", "--verifier-weights", "w.pth"),
        )
        yield Case(kind="weights", name=name, make=make, runs=runs)
    for name, put in b.strange_files():
        for suffix in ("pth", "safetensors"):

            def make_strange(folder: Path, put: b.Put = put, suffix: str = suffix) -> None:
                (folder / f"w.{suffix}").write_bytes((base.root / "model/model.safetensors").read_bytes())
                put(folder / f"w.{suffix}")

            run = ("di-invert", "--teacher", "digits_cnn", "--weights", f"w.{suffix}", *b.ROUND[:-1], "made")
            yield Case(kind="weights", name=f"{suffix}: {name}", make=make_strange, runs=(run,))


def _torch_files() -> dict[str, Callable[[Path], None]]:
    import torch
    from torch import nn

    def saved(value: Any, **options: Any) -> Callable[[Path], None]:
        return lambda path: torch.save(value, path, **options)

    def zipped(**members: bytes) -> Callable[[Path], None]:
        def put(path: Path) -> None:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                for name, data in members.items():
                    file.writestr(f"archive/{name.replace('_pkl', '.pkl')}", data)

        return put

    def scripted(path: Path) -> None:
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(path))

    def storage(path: Path) -> None:
        """A storage of a size that the file does not hold."""
        torch.save({"w": torch.zeros(4)}, path)
        data = path.read_bytes().replace(b"K\x04tQ", b"K\xfftQ")
        path.write_bytes(data)

    def strided(path: Path) -> None:
        tensor = torch.zeros(1).expand(2**20, 2**20)  # 4 TB if somebody makes it contiguous
        torch.save({"conv1.weight": tensor}, path)

    deep: Any = {}
    for _ in range(400):
        deep = {"state_dict": deep}
    sparse = torch.sparse_coo_tensor(
        torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (2**40,), check_invariants=False
    )
    return {
        "pickled code": lambda path: torch.save({"w": b.Pickled(path.parent / b.MARKER)}, path),
        "pickled code, old format": lambda path: torch.save(
            {"w": b.Pickled(path.parent / b.MARKER)}, path, _use_new_zipfile_serialization=False
        ),
        "plain pickle": lambda path: path.write_bytes(pickle.dumps(b.Pickled(path.parent / b.MARKER))),
        "pickled os.system": lambda path: path.write_bytes(b"cos\nsystem\n(S'touch EXECUTED'\ntR."),
        "whole module": saved(nn.Linear(2, 2)),
        "scripted module": scripted,
        "zip bomb": zipped(data_pkl=bytes(2**30), version=b"3"),
        "zip of nothing": zipped(version=b"3"),
        "zip with a pickle": zipped(data_pkl=b"cos\nsystem\n(S'touch EXECUTED'\ntR.", version=b"3"),
        "storage that is not there": storage,
        "4 TB by strides": strided,
        "number": saved(7),
        "list of lists": saved([[1]]),
        "deep mappings": saved(deep),
        "keys no texts": saved({1: torch.zeros(1), ("a",): torch.zeros(1)}),
        "values no tensors": saved({"w": [1, 2]}),
        "sparse": saved({"conv1.weight": sparse}),
        "meta": saved({"conv1.weight": torch.zeros(3, device="meta")}),
        "quantized": saved({"conv1.weight": torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)}),
        "complex": saved({"conv1.weight": torch.zeros(3, dtype=torch.complex64)}),
        "strange keys": saved({"\x1b[2J[/]\nerror: x": torch.zeros(1)}),
        "million keys": saved({f"k{number}": 0 for number in range(10**6)}),
        "recursion": _recursive,
    }


def _recursive(path: Path) -> None:
    """A mapping that holds itself, as the wrapper that training scripts add."""
    import torch

    value: dict[str, Any] = {}
    value["state_dict"] = value
    torch.save(value, path)


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

        def make_report(folder: Path, text: str = text) -> None:
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
