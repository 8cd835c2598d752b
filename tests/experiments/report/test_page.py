"""The page as text: its structure, what is escaped, how large it is."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from experiments.papers import entry as entries
from experiments.papers.entry import Cell
from experiments.parallel import job
from experiments.report import charts
from experiments.report.collect import collect
from experiments.report.html import Html, tag
from experiments.report.page import page
from experiments.report.series import Curve
from experiments.run import result
from experiments.run.rundir import Run
from tests.experiments.report import fakes
from tests.experiments.report.conftest import NASTY

VOID = {"meta", "br", "hr", "input", "wbr"}


class Structure(HTMLParser):
    """Elements, ids and links of a page; stops where the nesting is wrong."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> is no HTML"
        self.note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        names = [name for name, _ in attrs]
        assert len({*names}) == len(names), (tag, names)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids[value or ""] += 1
            if name in ("href", "src"):
                self.links.append(value or "")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def found(html: str) -> Structure:
    return Structure(html)


def test_elements_are_nested_and_ids_unique(found: Structure) -> None:
    assert found.seen["html"] == found.seen["head"] == found.seen["body"] == found.seen["main"] == 1
    assert found.seen["h1"] == 1
    assert [name for name, count in found.ids.items() if count > 1] == []


def test_links_lead_somewhere_in_the_page(found: Structure) -> None:
    assert found.links
    for link in found.links:
        assert link.startswith("data:image/png;base64,") or link[1:] in found.ids, link


def test_nothing_is_loaded(html: str, found: Structure) -> None:
    """No address anywhere but the names of XML's vocabularies, which nobody follows."""
    addresses = {*re.findall(r"https?://[^\s\"'<>)]+", html)}
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert not {"link", "iframe", "object", "embed", "base", "img"} & {*found.seen}
    assert "@import" not in html
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", html))


def test_nothing_runs_but_its_own_script(html: str, found: Structure) -> None:
    assert found.seen["script"] == 1
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    (policy,) = (value for tag, name, value in found.attributes if tag == "meta" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_what_files_say_is_text(html: str, found: Structure) -> None:
    assert NASTY not in html
    assert '</script><script>alert("x")</script><img src=x onerror=alert(1)>&amp;' in found.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", html)
    assert "a <cpu>" in found.text


@pytest.mark.parametrize("field", ["run", "option", "measure"])
def test_names_in_files_are_text_too(field: str, one: Path, tmp_path: Path) -> None:
    evil = "<b id=runs>&'\"x"
    folder = tmp_path / (evil if field == "run" else "plain")
    shutil.copytree(one / "alone", folder)
    if field == "option":
        config = json.loads((folder / "config.json").read_text())
        config["settings"]["task_options"] = {"t2": evil}
        (folder / "config.json").write_text(json.dumps(config))
    if field == "measure":
        line = {"iteration": 1, "loss": 1.0, "grad_norms": {evil: 1.0}, "scores": {evil: 1.0}}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line | {"iteration": 2}) + "\n")
    found = Structure(page(collect([tmp_path])).decode())
    assert found.seen["b"] == Structure(page(collect([one])).decode()).seen["b"] or field == "measure"
    assert found.ids["runs"] == 1
    assert "<b id=runs>" in found.text or field == "option"


def test_tables_have_heads_and_pictures_have_words(html: str, found: Structure) -> None:
    heads = [attributes for tag, attributes in re.findall(r"<(th)([ >][^>]*)", html)]
    assert heads
    assert all("scope=" in attributes for attributes in heads)
    assert found.seen["caption"] == found.seen["table"]
    pictures = re.findall(r"<svg([^>]*)>(<title>|)", html)
    assert pictures
    for attributes, title in pictures:
        assert title == "<title>" if 'role="img"' in attributes else 'aria-hidden="true"' in attributes
    levels = [int(level) for level in re.findall(r"<h(\d)", html)]
    assert levels[0] == 1
    assert all(b <= a + 1 or b == 4 for a, b in pairwise(levels))


def test_it_says_what_there_is_to_say(found: Structure) -> None:
    for words in (
        "6 of 20 cells computed",
        "4 of 48 cells computed",
        "TPTT solves longer sequences than BPTT",
        "We asked whether",
        "python cli.py reproduce manchev-1 --preset quick",
        "TPTT with W_hh and b_h left as drawn",
        "the best answer that ignores the input",
        "Differs from the defaults",
        "unfinished",
        "W_xh of TPTT learns by backpropagation (Eq. 12).",
        "numpy 2.4.6",
    ):
        assert words in found.text, words


def test_where_files_lie_is_nobodys_business(html: str, runs: Path) -> None:
    assert str(runs.parent) not in html
    assert "runs_dir" not in html


def test_the_same_runs_make_the_same_page(html: str, runs: Path, tmp_path: Path) -> None:
    """Wherever they lie, and in whatever order they are named."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(runs, copy)
    assert page(collect([copy])).decode() == html
    folders = sorted((path for path in copy.iterdir() if (path / "config.json").exists()), reverse=True)
    named = [path for path in folders if not path.name.startswith(".")]
    assert page(collect(named)).decode() == html


def test_curves_of_few_runs_are_open_and_of_many_folded(html: str, one: Path) -> None:
    assert '<details class="card" open>' in page(collect([one])).decode()
    assert '<details class="card" open>' not in html
    assert html.count('<details class="card">') == len(re.findall(r'id="run-\d+"', html)) > 12


def test_one_run_with_nothing_in_it(one: Path, tmp_path: Path) -> None:
    shutil.copytree(one / "alone", tmp_path / "empty")
    for name in ("metrics.jsonl", "result.json", "manifest.json", "timings.jsonl"):
        (tmp_path / "empty" / name).unlink()
    (tmp_path / "empty" / "metrics.jsonl").write_text("")
    text = Structure(page(collect([tmp_path])).decode()).text
    assert "1 run, with tptt, on temporal. 1 is not finished. It did not solve its task. It took 0.0 s" in text


def test_300_runs_are_less_than_3_megabytes(tmp_path: Path) -> None:
    entry = entries.load("manchev-1")
    job = entries.first_job(entry, entry.presets["quick"], Cell("temporal", "TPTT", 1), {})
    fakes.make(tmp_path, job, iterations=4_000, name="run-0")
    for seed in range(1, 300):
        path = tmp_path / f"run-{seed}"
        shutil.copytree(tmp_path / "run-0", path)
        config = json.loads((path / "config.json").read_text())
        config["settings"]["seed"] = seed + 1
        (path / "config.json").write_text(json.dumps(config))
    assert len(page(collect([tmp_path]))) < 3e6


def test_without_matplotlib_the_page_says_so(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    text = Structure(page(collect([runs])).decode()).text
    assert "No figure: it needs matplotlib" in text


def test_html_is_safe_by_default() -> None:
    made = tag("p", "<", Html("<br>"), None, 1, title='"', hidden=True, open=False, class_="a", data_x="1")
    assert made == '<p title="&quot;" hidden class="a" data-x="1">&lt;<br>1</p>'


@pytest.mark.parametrize(
    "y",
    [
        [1.0],
        [0.0, 0.0],
        [-1.0, -2.0],
        [1.0, float("nan"), 2.0],
        [1e-9, 1e9],
        [1.00001, 1.00002],
        [5.0, 5.0],
        [0.0, 1e-3],
        [-3.0, 1e5],
    ],
)
@pytest.mark.parametrize("log", [True, False])
def test_charts_of_any_numbers(y: list[float], log: bool) -> None:
    """All points lie within the picture."""
    curve = Curve([float(10 * i) for i in range(len(y))], y)
    drawn = charts.chart("cost", {"a": curve}, log=log, level=1.0)
    (path,) = re.findall(r'class="curve c0" d="([^"]*)"', drawn)
    for x, v in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path):
        assert charts.LEFT <= float(x) <= charts.WIDE
        assert 0 <= float(v) <= charts.HIGH
    assert len(re.findall("<text", drawn)) >= 2
    assert "no numbers" in charts.chart("cost", {"a": replace(curve, y=[float("nan")] * len(y))})
    charts.sparkline(curve)


def test_a_page_does_not_tell_where_its_runs_lay(tmp_path: Path) -> None:
    """What diverged names its last good checkpoint, by the name of the run and no more."""
    where = tmp_path / "far away"
    made = fakes.make(where, job.make("tptt", {}, {}), name="tptt-1", solved=False)
    checkpoint = made.run / "checkpoints" / "00000100.safetensors"
    told = replace(made, status="diverged", reason=f"loss is not finite; last good checkpoint: {checkpoint}")
    result.save(Run(made.run), told)
    text = page(collect([where])).decode()
    assert "last good checkpoint: tptt-1/checkpoints/00000100.safetensors." in text
    assert str(tmp_path) not in text
