"""Random command lines and YAML files: drawn from the commands' own options, with values that fit and that do not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dreamdistill.distill.cli import command as di_distill
from dreamdistill.invert.cli import command as di_invert
from dreamdistill.invert.recipe import RECIPES
from dreamdistill.pipelines.run import command as di_run
from dreamdistill.prune.cli import command as di_prune
from dreamdistill.shared.cli.di_shards import command as di_shards

PIPELINES = Path(__file__).parents[3] / "pipelines"
STRANGE = (
    *("", " ", "-", "--", "-1", "0", "1", "2", "3.5", "-0.0", "1e3", "1e-320", "1e400", "nan", "-inf", "0x10", "1_000"),
    *("9" * 25, "9" * 400, "9" * 5000, "1,2", "1,,2", ",", "1,x", ",".join("1" * 9000), "true", "None", "null", "auto"),
    *(
        "x" * 300,
        "x" * 10_000,
        "[/]",
        "[red]",
        "\x1b[2J",
        "a\nb",
        "\t",
        "\u202e",
        "é",
        "😀",
        "\udcff",
        "%s",
        "{0}",
        "$HOME",
    ),
    *("~", ".", "..", "/", "/dev/null", "/dev/zero", "/proc/self/mem", "../..", "nothing", "shards", "model", "rgb"),
    *(
        "model/model.json",
        "model/model.safetensors",
        "digits",
        "digits_cnn",
        "resnet18",
        "timm/resnet18",
        "timm/",
        "x.py:f",
    ),
    *(
        "torchvision:CIFAR10:x",
        "cpu",
        "cuda",
        "cuda:99",
        "cuda:-1",
        "mps",
        "meta",
        "cpu:7",
        "=",
        "=1",
        ":",
        "::",
        "@file",
    ),
)
_NOT = ("watch", "debug", "engine", "address")  # waits; shows a traceback; Ray is not started here
NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "5",
    "8",
    "100",
    "1000000",
    "1000000000",
    "1000000000000",
    str(2**61),
    "0.1",
    "0.5",
    "1e30",
)
FITTING = {
    "teacher": ("digits_cnn", "digits_cnn_small", "model"),
    "student": ("digits_cnn_small", "digits_cnn"),
    "shards": ("shards",),
    "eval": ("digits",),
    "recipe": tuple(RECIPES),
    "device": ("cpu", "auto"),
    "out": ("made", "shards", "model"),
    "weights": ("none", "model/model.safetensors"),
    "images": ("4", "1000"),
    "config_file": ("options.yaml",),
    "init": ("model",),
    "compete_with": ("model",),
}


def lines(rng: random.Random, count: int) -> Iterator[tuple[str, ...]]:
    """Random command lines. Stages run dry."""
    stages = (di_invert, di_distill, di_prune)
    for _ in range(count):
        command = rng.choice([*stages, *stages, di_run, di_shards])
        words = [str(command.name), *([] if command is di_shards else ["--dry-run"])]
        options = command
        if isinstance(command, click.Group):
            options = command.commands[rng.choice(list(command.commands))]
            words += [str(options.name), rng.choice(["shards", "shards", "shards", "rgb", rng.choice(STRANGE)])]
        elif command is di_run:
            words.append(rng.choice(["quickstart", "cifar10", "cifar10-adi", "imagenet", rng.choice(STRANGE)]))
        else:
            words += ["--teacher", "digits_cnn"] if command is di_invert and rng.random() < 0.9 else []
        known = [option for option in options.params if isinstance(option, click.Option) and option.name not in _NOT]
        for option in rng.choices(known, k=rng.choice([0, 1, 1, 2, 3, 5, 9])):
            words += _words(rng, option)
        if rng.random() < 0.05:
            words.insert(rng.randrange(2, len(words) + 1), _random_word(rng))
        yield tuple(_safe(word) for word in words)


def _words(rng: random.Random, option: click.Option) -> list[str]:
    flag = rng.choice([*option.opts, *option.secondary_opts])
    if rng.random() < 0.03:
        flag = flag[: rng.randrange(2, len(flag) + 1)] + rng.choice(["", "x", "-"])  # abbreviated, or misspelt
    if option.is_flag:
        return [flag] if rng.random() < 0.97 else [f"{flag}={rng.choice(STRANGE)}"]
    chosen = rng.random()
    if chosen < 0.03:
        return [flag]
    setting = getattr(option.type, "setting", None)
    fitting = (*FITTING.get(str(option.name), ()), *(setting.choices if setting else ()))
    if chosen < 0.2:
        value = _random_word(rng)
    else:
        value = rng.choice(fitting) if fitting else ",".join(rng.choices(NUMBERS, k=rng.choice([1, 1, 1, 2])))
    return [f"{flag}={value}"] if rng.random() < 0.2 else [flag, value]


def _random_word(rng: random.Random) -> str:
    if rng.random() < 0.8:
        return rng.choice(STRANGE)
    return "".join(
        chr(rng.choice([rng.randrange(1, 128), rng.randrange(128, 0xD800), rng.randrange(1, 128)])) for _ in range(9)
    )


def _safe(word: str) -> str:
    """No word of a command line holds a NUL."""
    return word.replace("\0", "")


def files(rng: random.Random, count: int) -> Iterator[bytes]:
    """Random YAML files."""
    shipped = [path.read_bytes() for path in sorted(PIPELINES.glob("*.yaml"))]
    for number in range(count):
        if number % 2:
            yield _mutated(rng, rng.choice(shipped))
        else:
            text = json.dumps(_grown(rng, 0)) if rng.random() < 0.3 else _written(rng, _grown(rng, 0), 0)
            yield text.encode(errors="surrogatepass")


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """A file with bytes changed, deleted, or copied elsewhere."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        start = rng.randrange(len(changed) + 1)
        length = rng.choice([1, 1, 3, 10, 50])
        part = bytes(changed[start : start + length])
        kind = rng.randrange(5)
        if kind == 0:
            changed[start : start + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del changed[start : start + length]
        elif kind == 2:
            changed[start:start] = part * rng.choice([1, 2, 100])
        elif kind == 3:
            changed[start:start] = rng.choice(
                [b"&a ", b"*a", b"!!set ", b"{", "é".encode(), b"- ", b"? ", b"|", b"%", b"\t"]
            )
        else:
            where = rng.randrange(len(changed) + 1)
            changed[where:where] = part
    return bytes(changed)


def _grown(rng: random.Random, level: int) -> Any:
    """A random value in the shape of a pipeline or an option file."""
    names = [str(option.name) for command in (di_invert, di_distill, di_prune) for option in command.params]
    if level == 0 and rng.random() < 0.6:
        stages = {rng.choice(["a", "b", "c", *STRANGE]): _stage(rng, names) for _ in range(rng.randrange(5))}
        return {"stages": stages, **{rng.choice([*names, "score", "out"]): _leaf(rng) for _ in range(rng.randrange(3))}}
    if level > 3 or rng.random() < 0.3 * level:
        return _leaf(rng)
    if rng.random() < 0.2:
        return [_grown(rng, level + 1) for _ in range(rng.randrange(4))]
    return {rng.choice([*names, rng.choice(STRANGE)]): _grown(rng, level + 1) for _ in range(rng.randrange(6))}


def _stage(rng: random.Random, names: list[str]) -> Any:
    stage = {rng.choice(names): _leaf(rng) for _ in range(rng.randrange(4))}
    kind = rng.choice(["invert", "distill", "prune", "adapt", _leaf(rng)])
    nested = {"rounds": rng.choice([2, 3, _leaf(rng)]), "invert": {"teacher": "digits_cnn"}, "distill": {}}
    return {
        "stage": kind,
        **({"teacher": "digits_cnn"} if kind == "invert" else {}),
        **(nested if kind == "adapt" else {}),
        **stage,
    }


def _leaf(rng: random.Random) -> Any:
    fitting = [value for values in FITTING.values() for value in values]
    return rng.choice(
        [rng.choice(STRANGE), rng.choice(fitting), rng.randrange(9), rng.random(), None, True, [], {}, ["a", 1], "a"]
    )


def _written(rng: random.Random, value: Any, level: int) -> str:
    """YAML in blocks, now and then with an anchor, an alias or a tag, and without quotation marks."""
    prefix = rng.choice(["", "", "", "", "", "", "&a ", "!!str ", "*a ", "!!python/name:os.system "])
    if isinstance(value, dict) and value:
        pad = "\n" + " " * level
        return "".join(f"{pad}{key}: {_written(rng, item, level + 1)}" for key, item in value.items())
    return prefix + (str(value) if rng.random() < 0.5 else json.dumps(value))
