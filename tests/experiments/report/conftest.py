"""A folder of made-up runs and the page about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.papers import entry as entries
from experiments.papers.entry import Cell
from experiments.parallel.job import Job
from experiments.report.collect import collect
from experiments.report.page import page
from tests.experiments.report import fakes

NASTY = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&amp;\u202e\ud800\x00'
"""What a file may say that somebody wrote who means no good."""


def below_40(job: Job) -> bool:
    return (job.settings.length or 0) < 40


def fill(folder: Path) -> None:
    """Runs of tables 1 and 4 and of figure 6, not all of any; one that is not finished; one that is none."""
    table, transfer, layers = (entries.load(name) for name in ("manchev-1", "manchev-4", "manchev-figure-6"))
    cells = [Cell(row, name, 1) for row in ("temporal", "adding") for name in ("BPTT", "TPTT", "frozen W_hh")]
    fakes.fill(folder, table, table.presets["quick"], below_40, cells)
    cells = [Cell("temporal", name, seed) for name in ("BPTT", "TPTT") for seed in (1, 2)]
    fakes.fill(folder, transfer, transfer.presets["quick"], cells=cells)
    fakes.fill(folder, layers, layers.presets["quick"], cells=entries.cells(layers, layers.presets["quick"])[:1])
    job = entries.first_job(table, table.presets["paper"], Cell("temporal", "TPTT", 5), {})
    fakes.write(folder / "unfinished", job, fakes.lines(job, 300, False), None)
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    (folder / "notes").mkdir()
    (folder / ".new-1-abc.tmp").mkdir()
    (folder / ".new-1-abc.tmp" / "config.json").write_text("{")
    fakes.make(folder, job, name="nasty", reason=NASTY)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made-up") / "runs"
    fill(folder)
    return folder


@pytest.fixture(scope="session")
def html(runs: Path) -> str:
    """The page about them."""
    return page(collect([runs])).decode()


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a single run."""
    folder = tmp_path_factory.mktemp("single") / "runs"
    entry = entries.load("manchev-1")
    fakes.make(folder, entries.first_job(entry, entry.presets["quick"], Cell("temporal", "TPTT", 1), {}), name="alone")
    return folder
