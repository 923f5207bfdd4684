"""A page loads nothing and runs nothing, and nobody's text becomes a part of it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from dreamdistill.shared.report import parts
from dreamdistill.shared.report.page import report_page
from dreamdistill.shared.report.parts import Section

BAD = "<script>alert('1')</script>\n\" onload=\"x\x1b[31m \u202e & 'q'"
VOID = {"meta", "img", "br", "link"}


class Tags(HTMLParser):
    """Collects tags and attributes, and checks that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of_bad_texts() -> str:
    sections = [
        Section(
            title=BAD,
            parts=[
                parts.paragraph(BAD),
                parts.note(BAD),
                parts.warning(BAD),
                parts.code(BAD),
                parts.facts({BAD: BAD}),
                parts.table((BAD, "number"), [(BAD, 1), (BAD, BAD)], colours=(0, 1)),
                parts.picture(b"\x89PNG", "png", alt=BAD, caption=BAD),
                parts.side_by_side([parts.chart("<svg></svg>", title=BAD, caption=BAD, legend={BAD: 9})]),
                parts.card(BAD, BAD, [parts.group([parts.paragraph(BAD)])]),
            ],
        ),
        Section(title=BAD, parts=[]),
    ]
    return report_page(sections, title=BAD, kind=BAD, lead=BAD, figures={BAD: BAD})


def test_texts_stay_texts_and_nothing_is_loaded() -> None:
    text = page_of_bad_texts()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    for tag, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(set(ids)) == len(ids) == 2


def test_the_policy_allows_the_one_style_sheet_alone() -> None:
    text = page_of_bad_texts()
    policy = re.search('Security-Policy" content="([^"]+)"', text)
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert "url(" not in style[1]
    assert "@import" not in style[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "yes"), (1234567, "1,234,567"), (0.123456, "0.1235"), ("a", "a")],
)
def test_values_are_shown_as_people_read_them(value: object, text: str) -> None:
    assert parts.shown_as(value) == text


def test_durations() -> None:
    assert [parts.duration(s) for s in (None, 0.5, 99, 600, 36000)] == [None, "0.5 s", "99 s", "10 min", "10.0 h"]
