"""The documentation: links lead somewhere, commands exist with the options shown, examples run, old words are gone."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_modules import MODULES

from dreamdistill.shared.cli.help import parts_of

ROOT = Path(__file__).parents[1]
README, GUIDE, CONCEPTS = ROOT / "README.md", ROOT / "docs/guide.md", ROOT / "docs/concepts.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README_LINES = 90  # one screen and a bit
GUIDE_SECONDS = 900  # on a machine that is slow and busy
LESS = {
    "range(600)": "range(60)",
    "--images 512": "--images 40",
    "--epochs 40": "--epochs 2",
    "--epochs 15": "--epochs 1",
}
OLD = re.compile(
    r"\b(hints?|hinted|collages?|lessons?|claims?|claimed|onlookers?|dreamed|dreamt|says? as|strangers?)\b"
    r"|(?<![\w-])--(alpha-hint|leaves|collage|basis)\b",
    re.IGNORECASE,
)


def blocks(document: Path, *languages: str) -> list[str]:
    """The text of a document's fenced blocks in these languages."""
    return re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", document.read_text(), re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """(document, command line) of every line of a shell block that calls one of this project's commands."""
    found = []
    for document in DOCUMENTS:
        for block in blocks(document, "sh", "bash", "console"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(document.name, line.strip()) for line in lines if line.strip().startswith("di-")]
    return found


def linked(document: Path) -> set[Path]:
    """The files that a document links to."""
    targets = re.findall(r"\]\(([^)#\s:]+)", document.read_text())
    return {(document.parent / target).resolve() for target in targets}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert missing == []


def _anchors(document: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
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


def test_every_page_is_reachable_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [README]
    while waiting:
        document = waiting.pop()
        if document.suffix == ".md" and document not in reached and document.exists():
            reached.add(document)
            waiting += linked(document)
    assert {path.name for path in DOCUMENTS} - {path.name for path in reached} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_old_words_and_options_are_gone(document: Path) -> None:
    assert [line for line in document.read_text().splitlines() if OLD.search(line)] == []


def test_the_readme_is_short_and_shows_commands() -> None:
    assert len(README.read_text().splitlines()) <= README_LINES
    shown = {line.split()[0] for document, line in commands() if document == README.name}
    assert {"di-invert", "di-distill", "di-prune"} <= shown


@pytest.mark.parametrize(("document", "line"), commands())
def test_commands_shown_exist_with_their_options(document: str, line: str) -> None:
    name, *words = shlex.split(line, comments=True)
    command: click.Command = importlib.import_module(MODULES[name]).command
    parts = parts_of(command)
    if words and words[0] in parts:
        command = parts[words.pop(0)]
    assert not isinstance(command, click.Group)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.split("=")[0] for word in words if word.startswith("-")} <= known | {"--help", "-h"}


def test_the_two_commands_of_the_readme_are_make_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert {"make demo", "make test"} <= set(re.findall(r"make \w+", README.read_text()))
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_the_guide_s_block_runs_as_it_stands_but_for_less_work(tmp_path: Path) -> None:
    block, *_ = blocks(GUIDE, "sh")
    for much, little in LESS.items():
        assert block.count(much) == 1
        block = block.replace(much, little)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DI_")}
    environ["DI_INVERT_SHARD_SIZE"] = "20"  # two shards
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=GUIDE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    made = ["gallery.png", "shards/manifest.json", "shards/000001.tar"]
    made += [f"runs/{run}/{file}" for run in ("student", "pruned") for file in ("model.safetensors", "report.json")]
    assert [path for path in made if not (tmp_path / path).is_file()] == []


def test_other_tools_read_shards_as_the_concepts_page_shows(
    made_shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = blocks(CONCEPTS, "python")
    monkeypatch.chdir(made_shards.parent)
    for mode in ("pilrgb", "pill"):
        exec(compile(example.replace("pilrgb", mode), CONCEPTS.name, "exec"), {})
    assert capsys.readouterr().out.splitlines() == 2 * [f"(8, 8) (10,) {target % 10}" for target in range(20)]
