"""Hostile weights files: torch's format and safetensors."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import base as b
from .base import Base, Case


def cases(base: Base) -> Iterator[Case]:
    """Weights files in torch's format, given by name."""
    for name, save in _torch_files().items():

        def make(folder: Path, save: b.Put = save) -> None:
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


def _torch_files() -> dict[str, b.Put]:
    import torch
    from torch import nn

    def saved(value: Any, **options: Any) -> b.Put:
        return lambda path: torch.save(value, path, **options)

    def zipped(**members: bytes) -> b.Put:
        def put(path: Path) -> None:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                for name, data in members.items():
                    file.writestr(f"archive/{name.replace('_pkl', '.pkl')}", data)

        return put

    def zip_bomb(path: Path) -> None:
        zipped(data_pkl=bytes(2**30), version=b"3")(path)

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

    def quantized(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are deprecated, and may come all the same
            torch.save({"conv1.weight": torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)}, path)

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
        "zip bomb": zip_bomb,
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
        "quantized": quantized,
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
