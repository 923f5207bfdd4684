"""Model cards: the head is YAML that says what it must, and nobody's name gets out of its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dreamdistill.shared.core.errors import printable
from dreamdistill.shared.models.card_file import CARD, MARK, may_replace, write_card_file
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.report.card import ModelCard, fenced, model_card, plain

CARD_OF = ModelCard(
    title="student",
    summary="A student.",
    base_model="resnet50",
    architecture="resnet18",
    num_classes=2,
    class_names=("cat", "dog"),
    preprocessing=Preprocessing(mean=(0.5,), std=(0.25,), image_size=8),
    figures={"top-1": "90 %", "nothing": None},
    top1=0.9,
    measured_on="/home/me/val",
    command="di-distill --shards s",
)
BAD = "<script>alert(1)</script>\n---\n# head [x](javascript:a) `c` | | ![i](u) \u202e"


def head_and_body(text: str) -> tuple[dict[str, Any], str]:
    begin, head, body = text.split("---\n", 2)
    assert begin == ""
    return yaml.safe_load(head), body


def test_the_head_is_what_the_hub_reads() -> None:
    head, body = head_and_body(model_card(CARD_OF))
    assert (head["library_name"], head["base_model"], head["datasets"]) == ("dreamdistill", "resnet50", [])
    assert "license" not in head
    result = head["model-index"][0]["results"][0]
    assert (result["dataset"]["name"], result["metrics"][0]["value"]) == ("val", 0.9)
    assert "| top-1 | 90 % |" in body
    assert "nothing" not in body
    assert "dd.load" in body
    assert "home" not in body


def test_what_was_not_measured_is_said() -> None:
    head, body = head_and_body(model_card(replace(CARD_OF, top1=None, measured_on=None, base_model=None)))
    assert "model-index" not in head
    assert "base_model" not in head
    assert "not measured" in body


def test_names_of_anybody_stay_text() -> None:
    card = replace(
        CARD_OF,
        title=BAD,
        summary=BAD,
        base_model=BAD,
        architecture=f"{BAD}.py:make",
        class_names=(BAD, "dog\n---\nlicense: mit"),
        figures={BAD: BAD},
        measured_on=BAD,
        command=printable(f"di-distill --out '{BAD}' ``` x"),
    )
    text = model_card(card)
    head, body = head_and_body(text)
    assert "license" not in head
    assert "base_model" not in head
    assert "\n---" not in body
    assert "\n# head" not in body
    outside, inside = "", False
    for line in body.split("\n"):
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            outside += f"{line}\n"
    assert not inside
    assert "<script" not in outside.replace(MARK, "")
    assert "](j" not in outside.replace("\\](j", "")
    assert "\u202e" not in text


def test_code_ends_where_its_fence_says() -> None:
    assert fenced("a\n````\nb", "sh") == "`````sh\na\n````\nb\n`````"
    assert plain("a*b_c|d<e>&\n") == "a\\*b\\_c\\|d&lt;e&gt;&amp;\\\\n"


def test_addresses_become_no_links() -> None:
    assert plain("http://x.y www.x.y me@x.y") == "http:\\//x.y www\\.x.y me\\@x.y"
    assert plain("- 9.11 %") == "\\- 9.11 %"


def test_a_readme_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    assert write_card_file(tmp_path, model_card(CARD_OF))
    assert write_card_file(tmp_path, model_card(CARD_OF))
    (tmp_path / CARD).write_text("# mine\n")
    assert not may_replace(tmp_path / CARD)
    assert not write_card_file(tmp_path, model_card(CARD_OF))
    assert (tmp_path / CARD).read_text() == "# mine\n"
