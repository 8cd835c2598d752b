"""The files of the papers' tables: complete, consistent, and true to what is printed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.papers import entry, measures
from experiments.papers.comparison import CONSTANT
from experiments.papers.entry import Cell, Entry, Preset
from experiments.parallel.job import Job
from minigrad.errors import InputError
from tests.experiments.run import blank

PRINTED = Path(__file__).parents[4] / "shared" / "paper_tables.json"
"""The published numbers, taken down a second time, where there is such a file beside the checkout."""

NAMES = [
    *(f"kag-{which}" for which in ("1", "2", "3", "4", "5", "6", "alpha", "figure-1", "figure-2", "figure-3")),
    *(f"manchev-{which}" for which in ("1", "2", "3", "4", "5", "6", "7", "a1", "a2", "a3", "a4")),
    *(f"manchev-figure-{which}" for which in ("3", "4", "5", "6", "7", "8", "9", "10", "a1")),
    *(f"wiseman-{which}" for which in ("1", "2", "3", "4", "batch", "figure-3")),
]
OWN = {"wiseman-batch"}
"""Entries of ours, for what a paper says in words."""
ALL = [entry.load(name) for name in NAMES]
RUNNABLE = [found for found in ALL if found.run is not None]


def idfn(found: Entry) -> str:
    return found.id


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of data with files of MNIST's format, all black, in which no job misses anything."""
    return {"data_dir": str(blank.mnist(tmp_path_factory.mktemp("data"), 12_000, 1))}


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
        assert {*(preset.entrants or ())} <= {*entrants}
        for special in preset.special:
            assert {*(special.rows or ())} <= {*rows}
            assert {*(special.entrants or ())} <= {*entrants}
    for claim in found.claims:
        assert {*(claim.rows or ()), claim.less_row or rows[0]} <= {*rows}
        assert {claim.more, claim.less} <= {*entrants, CONSTANT}


@pytest.mark.parametrize("found", RUNNABLE, ids=idfn)
def test_what_cannot_be_compared_names_what_it_is_of(found: Entry) -> None:
    for preset in found.presets.values():
        assert preset.substitute != "less data"
        assert (preset.substitute == "") == preset.comparable


@pytest.mark.parametrize("found", RUNNABLE, ids=idfn)
def test_every_cell_can_be_run(found: Entry, places: dict[str, str]) -> None:
    assert {"quick", "paper"} <= found.presets.keys()
    for preset, cell, job in every(found, places):
        assert job.settings.seed == cell.seed
        measures.chain(found, preset, cell, places).close()
        assert found.plan().cases.get(cell.row, entry.Variation()).published in (None, *found.columns)


@pytest.mark.parametrize("found", RUNNABLE, ids=idfn)
def test_cells_of_different_rows_or_seeds_are_different_runs(found: Entry, places: dict[str, str]) -> None:
    """Entrants may share a run, as where the best rates are the common ones."""
    owners: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for preset, cell, job in every(found, places):
        owners.setdefault((job.key, id(preset)), set()).add((cell.row, cell.seed))
    assert all(len(cells) == 1 for cells in owners.values())


@pytest.mark.parametrize("found", [f for f in ALL if f.runs_of], ids=idfn)
def test_a_figure_of_the_runs_of_a_table_has_its_rows(found: Entry, places: dict[str, str]) -> None:
    """Its series are the rows of the table, its runs the same, and the paper's numbers stand in the table alone."""
    table = entry.load(found.runs_of)
    assert [str(row[0]) for row in found.rows] == found.row_names() == table.row_names()
    assert [job for *_, job in every(found, places)] == [job for *_, job in every(table, places)]
    assert all(entrant.published is None for entrant in found.plan().entrants)


def test_runs_of_its_own_and_of_another_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (entry.FOLDER / "manchev-6.toml").read_text("utf-8")
    (tmp_path / "both.toml").write_text(f'runs_of = "manchev-7"\n{text}')
    monkeypatch.setattr(entry, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="runs of its own and those of manchev-7"):
        entry.load("both")


def test_an_entry_without_a_run_says_why() -> None:
    """There is nothing to run."""
    assert {found.id for found in ALL if found.run is None} == {"manchev-a2", "wiseman-3"}
    with pytest.raises(InputError, match="manchev-a2 has nothing to run: it holds settings alone"):
        entry.load("manchev-a2").plan()


def test_the_numbers_are_the_papers() -> None:
    """All that is printed stands in the files, in its place, and nothing else."""
    if not PRINTED.exists():
        pytest.skip(f"there is no {PRINTED.name} beside the checkout to compare with")
    printed = {name_of(item): item for item in json.loads(PRINTED.read_text("utf-8"))["entries"]}
    assert sorted(printed) == sorted({*NAMES} - OWN)
    for found in (found for found in ALL if found.id not in OWN):
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


# --- runs of Manchev & Spratling: the rates and sizes of the paper, and controls that differ in one thing ---

MANCHEV = [found for found in RUNNABLE if found.id.startswith("manchev-")]
IMAGES = [found for found in MANCHEV if found.plan().settings.get("task") == "mnist-pixels"]
SYNTHETIC = [found for found in MANCHEV if found not in IMAGES]

COMMON = {"manchev-2": "TPTT", "manchev-4": "TPTT", "manchev-a3": "TPTThx"}
"""Tables with a common model, and the entrant that is it."""


def printed(found: Entry) -> dict[str, dict[str, Any]]:
    """What a table prints: columns by rows."""
    return {str(row[0]): dict(zip(found.columns, row, strict=True)) for row in found.rows}


def jobs_of(found: Entry, places: dict[str, str]) -> dict[tuple[str, str], Job]:
    """The first run of each row and entrant, as the preset `paper` has it, of its first seed."""
    preset = found.presets["paper"]
    cells = [cell for cell in entry.cells(found, preset) if cell.seed == preset.seeds[0]]
    return {(cell.row, cell.entrant): entry.first_job(found, preset, cell, places) for cell in cells}


def rates(job: Job) -> dict[str, float]:
    return {name: getattr(job.config, name) for name in ("alpha_i", "alpha_f", "alpha_g")}


def partner(found: Entry, control: str) -> str:
    """The network trained by target propagation that a control belongs to."""
    names = [entrant.name for entrant in found.plan().entrants]
    own = control.replace("BPTT-split", "TPTT")
    return own if own in names else "without noise"


@pytest.mark.parametrize("found", MANCHEV, ids=idfn)
def test_split_bptt_steps_as_target_propagation_does(found: Entry, places: dict[str, str]) -> None:
    """W_hh and b_h at 2 alpha_i / (B H), the rest at alpha_f."""
    jobs = jobs_of(found, places)
    for (row, name), job in jobs.items():
        if name.startswith("BPTT-split"):
            tptt = jobs[row, partner(found, name)]
            rate = 2 * tptt.config.alpha_i / (job.settings.batch_size * job.settings.hidden)
            assert (tptt.method, job.method, job.config.lr) == ("tptt", "bptt", tptt.config.alpha_f)
            assert job.config.rates == pytest.approx({"W_hh": rate, "b_h": rate})


def test_split_bptt_stands_beside_target_propagation() -> None:
    """The test above passes over an entry that has no such entrant."""
    having = {f.id for f in SYNTHETIC if any(e.name.startswith("BPTT-split") for e in f.plan().entrants)}
    assert having == {"manchev-1", "manchev-2", "manchev-3", "manchev-4", "manchev-figure-3"}


def test_bptt_has_the_rates_of_table_1(places: dict[str, str]) -> None:
    """In every entry that has an entrant BPTT."""
    first = printed(entry.load("manchev-1"))
    seen = set()
    for found in SYNTHETIC:
        for (_, name), job in jobs_of(found, places).items():
            if name == "BPTT":
                assert (found.id, job.method, job.config.lr) == (
                    found.id,
                    "bptt",
                    first[job.settings.task]["bptt_alpha"],
                )
                seen.add(found.id)
    assert seen == {"manchev-1", "manchev-2", "manchev-4", "manchev-a3", "manchev-figure-3", "manchev-figure-4"}


def test_table_a1_has_the_rates_of_table_a2(places: dict[str, str]) -> None:
    jobs = jobs_of(entry.load("manchev-a1"), places)
    for problem, net, *alphas in entry.load("manchev-a2").rows:
        assert (net.lower(), alphas) == (jobs[problem, net].method, list(rates(jobs[problem, net]).values()))


def test_tables_1_and_a1_have_the_same_tptt(places: dict[str, str]) -> None:
    ones, others = jobs_of(entry.load("manchev-1"), places), jobs_of(entry.load("manchev-a1"), places)
    for problem in printed(entry.load("manchev-1")):
        assert ones[problem, "TPTT"] == others[problem, "TPTT"]


@pytest.mark.parametrize("name", COMMON)
def test_the_common_model_is_the_papers(name: str, places: dict[str, str]) -> None:
    found = entry.load(name)
    stated = found.settings.get("common_model", found.settings.get("tptt"))
    for (row, entrant), job in jobs_of(found, places).items():
        if entrant == COMMON[name]:
            assert (row, rates(job)) == (row, stated)


def test_figure_4_shows_the_best_models_of_table_2(places: dict[str, str]) -> None:
    table, drawn = (jobs_of(entry.load(name), places) for name in ("manchev-2", "manchev-figure-4"))
    for problem in printed(entry.load("manchev-2")):
        best = table.get((problem, "TPTT, best rates"), table[problem, "TPTT"])
        assert drawn[problem, "TPTT"] == best
        assert drawn[problem, "BPTT"] == table[problem, "BPTT"]


@pytest.mark.parametrize("name", ["manchev-figure-7", "manchev-figure-a1"])
def test_figures_of_noise_have_the_rates_that_they_state(name: str, places: dict[str, str]) -> None:
    found = entry.load(name)
    stated = found.settings
    noises = [float(series.removeprefix("eps=")) for (series,) in found.rows]
    jobs = jobs_of(found, places)
    assert [job.config.noise for job in jobs.values()] == noises
    for job in jobs.values():
        assert rates(job) == {alpha: stated[alpha] for alpha in rates(job)}
        assert (job.settings.length, job.settings.max_iterations) == (stated["T"], stated["iterations"])


@pytest.mark.parametrize("found", SYNTHETIC, ids=idfn)
def test_synthetic_problems_are_trained_as_the_paper_says(found: Entry, places: dict[str, str]) -> None:
    """Nesterov momentum, 100 hidden units, batches of 20; checked every 100 iterations by all presets and entrants."""
    for _, _, job in every(found, places):
        assert job.config.optimizer == "nag"
        assert (job.config.momentum, job.settings.init, job.settings.activation) == (0.9, "orthogonal", "tanh")
        assert (job.settings.batch_size, job.settings.hidden) == (20, 100)
        assert (job.settings.validate_every, job.settings.validate_size, job.settings.patience) == (100, 10_000, 300)


@pytest.mark.parametrize("found", SYNTHETIC, ids=idfn)
def test_lengths_and_problems_are_those_of_the_rows(found: Entry, places: dict[str, str]) -> None:
    """Columns `problem` and `tmax`, cases `problem T=length`; elsewhere the entry's own settings name the length."""
    for _, cell, job in every(found, places):
        name, _, length = cell.row.partition(" T=")
        row = printed(found).get(cell.row, {})
        problem = row.get("problem", None if name.isdigit() else name)
        length = row.get("tmax", length or found.settings.get("T", ""))
        assert problem in (None, job.settings.task)
        assert str(length) in ("", str(job.settings.length))


def test_transfer_is_from_100_to_200(places: dict[str, str]) -> None:
    """As the titles of tables 4 and 5 say."""
    for name in ("manchev-4", "manchev-5"):
        found = entry.load(name)
        assert {job.settings.length for *_, job in every(found, places)} == {100}
        assert {(found.plan().options | preset.options)["length"] for preset in found.presets.values()} == {200}


@pytest.mark.parametrize("found", SYNTHETIC, ids=idfn)
def test_controls_without_training_of_w_hh_differ_in_nothing_else(found: Entry, places: dict[str, str]) -> None:
    """The network with a frozen W_hh is the trained one, frozen; the read-out learns at alpha_f."""
    jobs = jobs_of(found, places)
    for (row, name), job in jobs.items():
        own = [jobs[row, e] for e in ("TPTThx", "TPTT", "without noise") if (row, e) in jobs]
        if name == "frozen W_hh":
            assert job.config == replace(own[0].config, frozen=("W_hh", "b_h"))
            assert (job.method, job.settings) == (own[0].method, own[0].settings)
        if name == "read-out only":
            assert (job.method, job.config.lr) == ("bptt", own[0].config.alpha_f)
            assert {*job.config.frozen} == {"W_xh", "W_hh", "b_h"}


@pytest.mark.parametrize("found", IMAGES, ids=idfn)
def test_images_are_trained_as_the_paper_says(found: Entry, places: dict[str, str]) -> None:
    """Checked on the test images, of which the largest accuracy counts; plain gradient descent with noise."""
    stated = entry.load(found.runs_of).settings if found.runs_of else found.settings
    assert any("selected on test data" in note for note in found.notes)
    for preset, cell, job in every(found, places):
        assert job.settings.task_options["valid"] == "test"
        assert job.settings.batch_size == 16
        assert preset.comparable == (preset is found.presets["paper"])
        if job.method != "bptt":
            row = {**stated, **printed(found).get(cell.row, {})}
            assert rates(job) == {alpha: row[alpha] for alpha in rates(job)}
            assert (job.config.optimizer, job.config.noise) == ("sgd", 0.1)
        assert job.settings.hidden == (int(cell.row) if cell.row.isdigit() else 100)


@pytest.mark.parametrize("found", RUNNABLE, ids=idfn)
def test_fewer_iterations_are_ahead_and_otherwise_more_is(found: Entry) -> None:
    """Of accuracies, lengths and angles; of perplexities not."""
    fewer = found.plan().measure in ("iterations", "perplexity", "change")
    assert {claim.higher for claim in found.claims} <= {not fewer}


# --- runs of Kag & Saligrama: FPTT beside itself without the regulariser, parts as in the paper and as in its code ---

KAG = [found for found in RUNNABLE if found.id.startswith("kag-")]


@pytest.mark.parametrize("found", [f for f in KAG if f.id != "kag-1"], ids=idfn)
def test_every_fptt_stands_beside_online_tbptt(found: Entry, places: dict[str, str]) -> None:
    """Of as many parts, in the same row; but one part without regulariser is BPTT, and alpha = 0 is a row of its own.

    Table 1 is about memory, on which alpha has no influence.
    """
    jobs = jobs_of(found, places)
    fptt = {key: job for key, job in jobs.items() if job.method == "fptt" and job.config.alpha and job.config.parts > 1}
    assert fptt
    for (row, name), job in fptt.items():
        control = jobs["alpha = 0" if found.id == "kag-alpha" else row, name.replace("FPTT", "online TBPTT")]
        assert (control.config.alpha, control.config.parts, control.method) == (0.0, job.config.parts, "fptt")
        assert (control.settings, control.config.lr) == (job.settings, job.config.lr)


@pytest.mark.parametrize("name", ["half", "paper"])
def test_figure_3_has_its_controls(name: str) -> None:
    found = entry.load("kag-figure-3")
    shown = {cell.entrant for cell in entry.cells(found, found.presets[name])}
    assert {"online TBPTT", "auxiliary losses"} <= shown
    assert "with all controls" in found.presets[name].about


@pytest.mark.parametrize("name", ["kag-2", "kag-3", "kag-6"])
def test_images_are_cut_into_the_parts_of_the_paper_and_of_its_code(name: str, places: dict[str, str]) -> None:
    """The square root of T where an entrant says so, whatever the preset; ten elsewhere."""
    found = entry.load(name)
    entrants = [e.name for e in found.plan().entrants]
    assert {cell.entrant for cell in entry.cells(found, found.presets["paper"])} == {*entrants}
    for preset in (replace(preset, entrants=None) for preset in found.presets.values()):
        for cell in entry.cells(found, preset):
            job = entry.first_job(found, preset, cell, places)
            if "sqrt" in cell.entrant:
                assert job.config.parts == math.isqrt(job.settings.length or 0)
            elif job.method == "fptt":
                assert job.config.parts == 10


def test_alphas_are_those_of_their_rows(places: dict[str, str]) -> None:
    found = entry.load("kag-alpha")
    assert found.row_names() == [*(f"alpha = {row[0]}" for row in found.rows), "alpha = 0"]
    for (row, _), job in jobs_of(found, places).items():
        assert job.config.alpha == float(row.removeprefix("alpha = "))
