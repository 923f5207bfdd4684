"""What the documents say: links lead somewhere, commands exist with the options shown, files named are there."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = {
    "di-invert": "invert.cli",
    "di-distill": "distill.cli",
    "di-prune": "prune.cli",
    "di-run": "pipelines.run",
    "di-shards": "shared.cli.di_shards",
}


def commands() -> list[tuple[str, str]]:
    """(document, command line) of every line of a shell block that calls one of our commands."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", document.read_text(), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(document.name, line.strip()) for line in lines if line.strip().startswith("di-")]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert missing == []


def _anchors(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_headings(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", document.read_text())
    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in _anchors(document.parent / target if target else document)
    ]
    assert missing == []


def test_the_readme_shows_commands() -> None:
    assert sum(document == "README.md" for document, _ in commands()) >= 6


@pytest.mark.parametrize(("document", "line"), commands())
def test_commands_shown_exist_with_their_options(document: str, line: str) -> None:
    name, *words = shlex.split(line, comments=True)
    command: click.Command = importlib.import_module(f"dreamdistill.{MODULES[name]}").command
    if isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.split("=")[0] for word in words if word.startswith("-")} <= known | {"--help", "-h"}


def test_the_two_commands_of_the_readme_are_make_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert {"make demo", "make test"} <= set(re.findall(r"make \w+", (ROOT / "README.md").read_text()))
    assert "make test" in (ROOT / ".ci/run").read_text()
