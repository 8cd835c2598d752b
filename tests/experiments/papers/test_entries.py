"""The files of the papers' tables: complete, consistent, and true to what is printed."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.papers import entry, measures
from experiments.papers.comparison import CONSTANT
from experiments.papers.entry import Cell, Entry, Preset
from experiments.parallel.job import Job

PRINTED = Path(__file__).parents[4] / "shared" / "paper_tables.json"
"""The published numbers, taken down a second time, where there is such a file beside the checkout."""

NAMES = [
    *(f"kag-{which}" for which in ("1", "2", "3", "4", "5", "6", "alpha", "figure-1", "figure-2", "figure-3")),
    *(f"manchev-{which}" for which in ("1", "2", "3", "4", "5", "6", "7", "a1", "a2", "a3", "a4")),
    *(f"manchev-figure-{which}" for which in ("3", "4", "5", "6", "7", "8", "9", "10", "a1")),
    *(f"wiseman-{which}" for which in ("1", "2", "3", "4", "figure-3")),
]
ALL = [entry.load(name) for name in NAMES]
RUNNABLE = [found for found in ALL if found.run is not None]


def idfn(found: Entry) -> str:
    return found.id


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of data with files of MNIST's format, all black, in which no job misses anything."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    for half, count in (("train", 12_000), ("t10k", 1)):
        write_blank(folder / "mnist" / f"{half}-images-idx3-ubyte", count, 28, 28)
        write_blank(folder / "mnist" / f"{half}-labels-idx1-ubyte", count)
    return {"data_dir": str(folder)}


def write_blank(path: Path, *sizes: int) -> None:
    """An idx file of zeros, which take no room on the disk."""
    header = struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes)
    path.write_bytes(header)
    os.truncate(path, len(header) + math.prod(sizes))


def every(found: Entry, places: dict[str, str]) -> Iterator[tuple[Preset, Cell, Job]]:
    """All cells of all presets with their first jobs."""
    for preset in found.presets.values():
        for cell in entry.cells(found, preset):
            yield preset, cell, entry.first_job(found, preset, cell, places)


def test_names_are_sorted_as_people_count() -> None:
    """Tables before figures, 2 before 10, the appendix last."""
    assert entry.names() == NAMES


@pytest.mark.parametrize("found", ALL, ids=idfn)
def test_every_row_has_a_cell_for_every_column(found: Entry) -> None:
    assert len(set(found.columns)) == len(found.columns)
    assert found.rows
    assert {len(row) for row in found.rows} == {len(found.columns)}


@pytest.mark.parametrize("found", RUNNABLE, ids=idfn)
def test_nothing_refers_to_what_is_not_there(found: Entry) -> None:
    """Rows and entrants go by their names in presets and claims: a slip of the pen would leave cells out."""
    plan, rows = found.plan(), found.row_names()
    entrants = [entrant.name for entrant in plan.entrants]
    assert len(set(rows)) == len(rows)
    assert len(set(entrants)) == len(entrants)
    for entrant in plan.entrants:
        assert {*(entrant.rows or ()), *entrant.by_row} <= {*rows}
        assert entrant.published in (None, *found.columns)
    for preset in found.presets.values():
        assert {*(preset.rows or ())} <= {*rows}
        assert {*(preset.entrants or ()), *preset.by_entrant} <= {*entrants}
    for claim in found.claims:
        assert {*(claim.rows or ())} <= {*rows}
        assert {claim.more, claim.less} <= {*entrants, CONSTANT}


@pytest.mark.parametrize("found", RUNNABLE, ids=idfn)
def test_every_cell_can_be_run(found: Entry, places: dict[str, str]) -> None:
    assert {"quick", "paper"} <= found.presets.keys()
    for preset, cell, job in every(found, places):
        assert job.settings.seed == cell.seed
        measures.measure(found.plan().measure, job, found.plan().options | preset.options).close()


@pytest.mark.parametrize("found", RUNNABLE, ids=idfn)
def test_cells_of_different_rows_or_seeds_are_different_runs(found: Entry, places: dict[str, str]) -> None:
    """Entrants may share a run, as where the best rates are the common ones."""
    owners: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for preset, cell, job in every(found, places):
        owners.setdefault((job.key, id(preset)), set()).add((cell.row, cell.seed))
    assert all(len(cells) == 1 for cells in owners.values())


def test_an_entry_without_a_run_says_why() -> None:
    """It lacks something here, or there is nothing to run."""
    settings_alone = {found.id for found in ALL if found.run is None and not found.needs}
    assert settings_alone == {"kag-1", "manchev-a2", "wiseman-3"}


def test_the_numbers_are_the_papers() -> None:
    """All that is printed stands in the files, in its place, and nothing else."""
    if not PRINTED.exists():
        pytest.skip(f"there is no {PRINTED.name} beside the checkout to compare with")
    printed = {name_of(item): item for item in json.loads(PRINTED.read_text("utf-8"))["entries"]}
    assert sorted(printed) == sorted(NAMES)
    for found in ALL:
        item = printed[found.id]
        assert (found.id, found.kind, found.columns) == (found.id, item["kind"], item["columns"])
        assert (found.id, found.rows) == (found.id, [[as_in_toml(cell) for cell in row] for row in item["rows"]])


def name_of(item: dict[str, Any]) -> str:
    """`Manchev2020`, `tableA1` -> `manchev-a1`."""
    paper = item["paper"].lower().rstrip("0123456789")
    which = item["id"].lower().removesuffix("_sweep").replace("figure", "figure-").removeprefix("table")
    return f"{paper}-{which}"


def as_in_toml(cell: Any) -> Any:
    """What is not reported is an empty string; remarks within a cell, after a semicolon, are notes of the entry."""
    if cell is None:
        return ""
    return cell.partition(";")[0] if isinstance(cell, str) else cell
