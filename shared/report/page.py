"""A whole page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from .parts import Html, Section, escaped, tiles
from .style import STYLE

# Nothing is loaded and nothing runs, but the one style sheet and images that stand in the page.
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; img-src data:; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"


def report_page(
    sections: Sequence[Section],
    *,
    title: str,
    kind: str = "report",
    lead: str = "",
    figures: Mapping[str, object] | None = None,
) -> str:
    """The page, to be written as UTF-8. The same sections give the same bytes.

    Args:
        title: what the page is about, such as the name of a run.
        kind: a few words above it.
        lead: a sentence below it.
        figures: name -> what matters most, shown first and large.
    """
    anchors = _anchors(sections)
    links = "".join(f'<a href="#{a}">{escaped(s.title)}</a>' for a, s in zip(anchors, sections, strict=True))
    body = "".join(
        f'<section id="{anchor}"><h2>{escaped(section.title)}</h2>{_joined(section.parts)}</section>\n'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    top = f'<p class="lead">{escaped(lead)}</p>' if lead else ""
    top += tiles(figures).text if figures else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escaped(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><p class="kicker">{escaped(kind)}</p><h1>{escaped(title)}</h1>{top}<nav>{links}</nav></header>
<main>
{body}</main>
<footer>Made by dreamdistill. This page loads nothing and runs no script.</footer>
</body>
</html>
"""


def _anchors(sections: Sequence[Section]) -> list[str]:
    """A name for each section; a second one of the same title gets a number."""
    found: list[str] = []
    for section in sections:
        same = sum(anchor == section.anchor or anchor.startswith(f"{section.anchor}--") for anchor in found)
        found.append(f"{section.anchor}--{same + 1}" if same else section.anchor)
    return found


def _joined(parts: Sequence[Html]) -> str:
    return "\n".join(part.text for part in parts)
