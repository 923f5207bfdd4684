"""Pages in a real browser: they fit on a phone, on a wide screen and on paper. And what the commands write."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from dreamdistill.shared.models.card_file import CARD
from dreamdistill.shared.report import parts
from dreamdistill.shared.report.confusions import Confusion, Mistake, confusion_parts
from dreamdistill.shared.report.figures import NetworkFigures, networks_charts, networks_table
from dreamdistill.shared.report.page import report_page
from dreamdistill.shared.report.parts import Section

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
SECONDS = 120  # for the browser to start, on a busy machine
LONG = "a_very_long_name_without_any_space_" * 8
SIZE = re.compile(r"<title>([0-9]+) ([0-9]+)</title>")


def browse(page: Path, *options: str) -> str:
    """Show a page without a window, and return what the browser prints."""
    own = page.parent / "browser"
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={own}"]
    done = subprocess.run(
        [str(CHROMIUM), *fixed, *options, page.as_uri()], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout


def widths(page: Path, width: int) -> tuple[int, int]:
    """How wide the content is, and how wide the screen. A copy of the page has a script that tells, and no policy."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    tell = "document.title=document.documentElement.scrollWidth+' '+window.innerWidth"
    copy = page.with_name(f"{page.stem}_tells.html")
    copy.write_text(text.replace("</body>", f"<script>{tell}</script></body>"))
    found = SIZE.search(browse(copy, f"--window-size={width},844", "--virtual-time-budget=2000", "--dump-dom"))
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.fixture
def wide_page(tmp_path: Path) -> Path:
    """A page of what is widest: long names, long commands, many columns, many classes."""
    rows = [
        NetworkFigures(name=name, top1=0.9, agreement=0.5, parameters=10**9, macs=10**12, latency_ms=3.0, seconds=1e6)
        for name in ("teacher", LONG)
    ]
    counts = tuple(tuple(int(t == a) for a in range(20)) for t in range(20))
    confusion = Confusion(images=20, right=20, counts=counts, mistakes=(Mistake(true=0, answered=1, images=1),))
    charts = networks_charts(rows)
    assert len(charts) == 2
    sections = [
        Section(title=LONG, parts=[networks_table(rows), *charts, parts.facts({LONG: LONG}), parts.warning(LONG)]),
        Section(title="code", parts=[parts.code(f"di-invert --out /{LONG} --teacher {LONG}"), parts.note(LONG)]),
        Section(title="confusion", parts=confusion_parts({LONG: confusion}, [LONG] * 20, images=LONG)),
        Section(title="cards", parts=[parts.card(LONG, LONG, [parts.code(LONG)]), parts.tiles({LONG: LONG})]),
    ]
    page = tmp_path / "wide.html"
    page.write_text(report_page(sections, title=LONG, kind=LONG, lead=LONG, figures={LONG: LONG, "b": 1}))
    return page


@in_a_browser
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_no_page_scrolls_sideways(wide_page: Path, width: int) -> None:
    content, screen = widths(wide_page, width)
    assert content <= screen
    assert screen in (width, max(width, 500))  # some versions have no window below 500


@in_a_browser
@pytest.mark.parametrize("size", [(390, 844), (1280, 900)])
def test_a_browser_shows_it_under_its_policy(wide_page: Path, size: tuple[int, int]) -> None:
    picture = wide_page.with_suffix(".png")
    browse(wide_page, f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}")
    with Image.open(picture) as shown:
        assert shown.size == size
        corner, colours = shown.convert("RGB").getpixel((1, 1)), shown.convert("RGB").getcolors(1 << 24)
    assert corner in ((0xF6, 0xF7, 0xF9), (0x0F, 0x13, 0x18))  # the style sheet's: it was not refused
    assert len(colours or []) > 10


@in_a_browser
def test_it_prints(wide_page: Path) -> None:
    paper = wide_page.with_suffix(".pdf")
    browse(wide_page, f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")


@in_a_browser
def test_a_shard_report_fits_on_a_phone(di: Callable, shards: Path) -> None:
    done = di("di-shards", "report", shards, "--json")
    assert json.loads(done.stdout) == {"report": str(shards / "report.html"), "classes": 10, "images": 40}
    content, screen = widths(shards / "report.html", 390)
    assert content <= screen


def test_a_shard_report_says_what_it_is_and_the_folder_stays_whole(
    di: Callable, fails: Callable, shards: Path, tmp_path: Path
) -> None:
    assert di("di-shards", "report", shards).code == 0
    page = (shards / "report.html").read_text()
    for words in ("digits_cnn", "cifar10-deepinversion", "class 9", "mean of the shards", "Agreement: "):
        assert words in page
    assert di("di-shards", "verify", shards).code == 0
    fails("di-shards", "report", shards, "--out", tmp_path / "no/o.html", code=2, says=["cannot write"])
    (shards / "000000.tar").write_bytes(b"\0" * (shards / "000000.tar").stat().st_size)
    fails("di-shards", "report", shards, "--out", tmp_path / "o.html", code=1, says=["000000.tar", "di-invert again"])
    assert not (tmp_path / "o.html").exists()


def test_stages_write_a_card_and_leave_other_readmes_alone(di: Callable, shards: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "s", ["--shards", shards, "--epochs", 0, "--eval", "digits"]
    assert di("di-distill", *options, "--student", "digits_cnn_small", "--out", out).code == 0
    text = (out / CARD).read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["base_model"] == "digits_cnn"
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "digits"
    assert "di-distill" in text
    assert str(tmp_path) not in text
    assert di("di-distill", *options, "--out", out, "--overwrite").code == 0
    assert (out / CARD).read_text() != text  # another student

    mine = tmp_path / "p"
    mine.mkdir()
    (mine / CARD).write_text("mine")
    done = di("di-prune", *options, "--iterations", 1, "--out", mine, "--overwrite")
    assert done.code == 0, done.stderr
    assert "README.md is not a card of ours" in done.stderr
    assert (mine / CARD).read_text() == "mine"
