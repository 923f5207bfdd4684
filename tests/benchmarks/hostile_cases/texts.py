"""Hostile YAML files: options and pipelines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from dreamdistill.invert.config import InvertConfig
from dreamdistill.shared.core.config import settings_of

from . import base as b
from .base import Base, Case, put_bytes
from .json_mutations import TEXTS

CONFIG = ("di-invert", "--config", "file.yaml", "--dry-run", "--out", "made")
PIPELINE = ("di-run", "file.yaml", "--dry-run", "--out", "made")
STAGE = "{stage: invert, teacher: digits_cnn, images: 4, steps: 2, recipe: noise, workers: 1}"
ADAPT = "invert: {teacher: x}, distill: {}"
WRONG: dict[str, Any] = {
    "mapping": {"a": 1},
    "list of lists": [[1, 2]],
    "empty list": [],
    "null": None,
    "10^400": 10**400,
    "negative": -1,
    "fraction": 0.5,
    "NaN": float("nan"),
    "true": True,
    "text": "[/]\x1b[2J\nerror: x",
}


def cases(base: Base) -> Iterator[Case]:
    for name, data in _yaml_files().items():
        yield _yaml("yaml", name, data, CONFIG, PIPELINE)
    for name, put in b.strange_files():
        yield _strange_yaml(name, put)
    values = cycle(WRONG)
    for option in settings_of(InvertConfig):
        for _ in range(2):  # two wrong values for each option, all of them over all options
            value = next(values)
            text = json.dumps({"teacher": "digits_cnn", "recipe": "noise", "images": 4, option: WRONG[value]})
            yield _yaml("yaml", f"{option}: {value}", text.encode(), CONFIG)
    for name, text in _pipelines().items():
        yield _yaml("pipeline", name, text.encode(errors="surrogatepass"), PIPELINE)


def _yaml(kind: str, name: str, data: bytes, *runs: tuple[str, ...]) -> Case:
    return Case(kind=kind, name=name, make=lambda folder: put_bytes(folder / "file.yaml", data), runs=runs)


def _strange_yaml(name: str, put: b.Put) -> Case:
    def make(folder: Path) -> None:
        put_bytes(folder / "file.yaml", b"teacher: digits_cnn\nimages: 4\n")
        put(folder / "file.yaml")

    return Case(kind="yaml", name=f"file: {name}", make=make, runs=(CONFIG, PIPELINE))


def _yaml_files() -> dict[str, bytes]:
    def nested(first: str, level: Callable[[int], str], levels: int) -> str:
        """A value that holds a growing chain of anchors; each names those before it several times."""
        return f"[&a0 {first}, {', '.join(f'&a{n} {level(n)}' for n in range(1, levels))}]"

    laughs = nested("[x]", lambda n: f"[{', '.join([f'*a{n - 1}'] * 9)}]", 12)
    mapped = nested("{x: 1}", lambda n: f"{{{', '.join(f'k{m}: *a{n - 1}' for m in range(9))}}}", 12)
    merges = nested("{x: 1}", lambda n: f"{{<<: [{', '.join([f'*a{n - 1}'] * 30)}], k{n}: 1}}", 30)
    words = nested(f"[{'x' * 50_000}]", lambda n: f"[{', '.join([f'*a{n - 1}'] * 9)}]", 6)
    code = {
        "object/apply": f"!!python/object/apply:os.system ['touch {b.MARKER}']",
        "object/new": f"!!python/object/new:os.system ['touch {b.MARKER}']",
        "name": "!!python/name:os.system",
        "module": "!!python/module:evil",
        "own tag": "!evil x",
    }
    plain = "teacher: digits_cnn\nrecipe: noise\nimages: 4\n"
    texts = {
        **{f"tag {name}": f"{plain}steps: {tag}\n" for name, tag in code.items()},
        "tag of the whole": f"!!python/object/apply:os.system ['touch {b.MARKER}']",
        "laughs in a text": f"{plain.replace('digits_cnn', laughs)}",
        "long words in a text": f"{plain.replace('digits_cnn', words)}",
        "laughs in steps": f"{plain}steps: {laughs}\n",
        "laughs of mappings": f"{plain}betas: {mapped}\n",
        "laughs in stages": f"stages: {{a: {{stage: invert, teacher: {laughs}}}}}\n",
        "laughs of merges": f"{plain}betas: {merges}\n",
        "alias of itself": "teacher: &a [*a]\n",
        "alias of the whole": "&a\nteacher: digits_cnn\nsteps: *a\n",
        "merge of itself": "a: &a {<<: *a, b: 1}\nteacher: x\n",
        "stages of themselves": "stages: &a {one: *a}\n",
        "unknown alias": "teacher: *nothing\n",
        "key twice": plain + "images: 5\n",
        "key twice, dash": plain + "shard-size: 5\nshard_size: 6\n",
        "deep lists": plain + "steps: " + "[" * 5000 + "]" * 5000,
        "deep mappings": plain + "steps: " + "{a: " * 5000 + "}" * 5000,
        "deep indentation": "\n".join(" " * level + "a:" for level in range(3000)),
        "5,000 digits": plain + "seed: " + "9" * 5000 + "\n",
        "100,000 digits": plain + "seed: " + "9" * 100_000 + "\n",
        "sexagesimal": plain + "seed: " + ":".join(["59"] * 3000) + "\n",
        "hexadecimal": plain + "seed: 0x" + "f" * 10_000 + "\n",
        "date": plain + "seed: 2001-12-14\n",
        "no date": plain + "seed: 2001-99-99\n",
        "time": plain + "seed: 2001-12-14t21:59:43.10-99:99\n",
        "binary": plain + "seed: !!binary aGVsbG8=\n",
        "no binary": plain + "seed: !!binary '*'\n",
        "set": plain + "steps: !!set {1, 2}\n",
        "pairs": plain + "steps: !!omap [a: 1]\n",
        "no pairs": plain + "steps: !!omap [1]\n",
        "infinite": plain + "lr: .inf\n",
        "NaN": plain + "lr: .nan\n",
        "1e999": plain + "lr: 1e999\n",
        "tabs": plain + "\timages: 4\n",
        "two documents": plain + "---\nimages: 5\n",
        "directives": "%YAML 9.9\n---\n" + plain,
        "key a list": plain + "? [1, 2]\n: 3\n",
        "key a mapping": plain + "? {a: 1}\n: 3\n",
        "key null": plain + "null: 3\n",
        "key a number": plain + "7: 3\n",
        "key a date": plain + "2001-12-14: 3\n",
        "key with escapes": plain + '"\\e[2J[/]\\nerror: x": 3\n',
        "many keys": plain + "".join(f"k{n}: {n}\n" for n in range(200_000)),
        "long list": plain + "steps: [" + "1, " * 300_000 + "1]\n",
        "long value": plain + "teacher: " + "x" * 3_000_000 + "\n",
        "NUL": plain + "teacher: a\0b\n",
        "escaped NUL": plain.replace("digits_cnn", '"a\\0b"'),
        "only a comment": "# nothing\n",
        **{f"teacher: {name}": json.dumps({"teacher": text}) for name, text in TEXTS.items()},
        **{f"out: {name}": plain + "out: " + json.dumps(text) + "\n" for name, text in TEXTS.items()},
    }
    found = {name: text.encode() for name, text in texts.items()}
    return found | {
        "byte order mark": b"\xef\xbb\xbf" + plain.encode(),
        "UTF-16": plain.encode("utf-16"),
        "UTF-32": plain.encode("utf-32"),
        "Latin-1": plain.encode() + b"teacher: caf\xe9\n",
        "C1 controls": plain.encode() + "teacher: a\x9b31mb\n".encode(),
    }


def _pipelines() -> dict[str, str]:
    """Pipelines whose stages do not go together, or whose names lead elsewhere."""
    two = f"{{a: {STAGE}, b: {{stage: distill, shards: a}}}}"
    found = {
        "cycle": "stages: {a: {stage: distill, shards: b}, b: {stage: invert, teacher: a}}",
        "stage of itself": "stages: {a: {stage: distill, shards: a, init: a}}",
        "unknown stage": "stages: {a: {stage: train}}",
        "stage a list": "stages: {a: {stage: [invert]}}",
        "stage a mapping": "stages: {a: {stage: {invert: 1}}}",
        "stages a list": f"stages: [{STAGE}]",
        "stages null": "stages:",
        "stage null": "stages: {a: }",
        "stage a text": "stages: {a: invert}",
        "reference a list": f"stages: {{a: {STAGE}, b: {{stage: distill, shards: [a]}}}}",
        "reference a mapping": f"stages: {{a: {STAGE}, b: {{stage: distill, shards: {{a: 1}}}}}}",
        "teacher a list": "stages: {a: {stage: invert, teacher: [digits_cnn]}}",
        "out a list": f"out: [a]\nstages: {two}",
        "out a mapping": f"out: {{a: 1}}\nstages: {two}",
        "out null": f"out:\nstages: {two}",
        "score a list": f"score: [1]\nstages: {two}",
        "score of lists": f"score: {{verifier: [1]}}\nstages: {two}",
        "score unknown": f"score: {{varifier: x}}\nstages: {two}",
        "seed a mapping": f"seed: {{a: 1}}\nstages: {two}",
        "unknown option a list": f"? [seed]\n: 1\nstages: {two}",
        "latency of nothing": f"latency_batch: 0\nstages: {two}",
        "latency huge": f"latency_batch: {10**15}\nstages: {two}",
        "adapt of 10^9 rounds": f"stages: {{a: {{stage: adapt, rounds: {10**9}, {ADAPT}}}}}",
        "adapt of many keys": "stages: {a: {stage: adapt, rounds: 2, invert: {1: 2}, distill: {[a]: 1}}}",
        "adapt of texts": "stages: {a: {stage: adapt, rounds: x, invert: y, distill: z}}",
        "adapt of null": "stages: {a: {stage: adapt, rounds: , invert: , distill: }}",
        "adapt over another": f"stages: {{a_1: {STAGE}, a: {{stage: adapt, rounds: 2, {ADAPT}}}}}",
        "10,000 stages": "stages:\n" + "".join(f"  s{number}: {STAGE}\n" for number in range(10_000)),
    }
    stage_names = {
        "up": "../../up",
        "absolute": "/tmp/hostile-stage",
        "here": ".",
        "slash": "a/b",
        "number": "7",
        **TEXTS,
    }
    for name, text in stage_names.items():
        found[f"stage named: {name}"] = json.dumps(
            {"stages": {text: {"stage": "invert", "teacher": "digits_cnn"}, "b": {"stage": "distill", "shards": text}}}
        )
    return found
