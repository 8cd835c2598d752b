"""The figures of the papers' entries."""

from __future__ import annotations

import json
import math
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from experiments.papers import entry as entries
from experiments.papers import figures
from experiments.papers.entry import Cell, Entry, Preset
from experiments.papers.figures import curves, parts
from experiments.papers.measures import Measured
from experiments.parallel.job import Job
from experiments.run.rundir import Run
from minigrad.errors import InputError
from tests.experiments.report import fakes

ROOT = Path(__file__).parents[3]

RUNNABLE = [name for name in entries.names() if entries.load(name).run is not None]


def small(name: str, seeds: int = 2) -> tuple[Entry, Preset]:
    """An entry and its quick preset with few seeds, and lengths up to 80 where they grow."""
    entry = entries.load(name)
    preset = entry.presets["quick"]
    options = {"longest": 80} if entry.plan().measure == "depth" else {}
    return entry, replace(preset, seeds=preset.seeds[:seeds], options=options)


def svg(entry: Entry, preset: Preset, measured: dict[Cell, Measured]) -> str:
    return figures.draw(entry, preset, measured, "svg").decode()


def words(drawn: str) -> list[str]:
    """The text in an SVG; what a name is set from comes in pieces."""
    found = ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()).strip() for text in found]


def short(job: Job) -> bool:
    return (job.settings.length or 0) < 75


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_entry_has_a_figure(name: str, tmp_path: Path) -> None:
    """PNG, and SVG, twice the same; with all cells, and with a single one. Warnings are errors here."""
    entry, preset = small(name)
    measured = fakes.fill(tmp_path, entry, preset, short)
    png = figures.draw(entry, preset, measured)
    width, height = struct.unpack(">II", png[16:24])
    assert width > 1000
    assert height > 300
    drawn = svg(entry, preset, measured)
    assert svg(entry, preset, measured) == drawn
    for cell in list(measured)[:1]:
        assert figures.draw(entry, preset, {cell: measured[cell]}).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["manchev-1", "manchev-figure-3", "manchev-figure-6"])
def test_an_svg_refers_to_nothing_outside(name: str, tmp_path: Path) -> None:
    entry, preset = small(name, seeds=1)
    drawn = svg(entry, preset, fakes.fill(tmp_path, entry, preset, short))
    links = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', drawn)
    assert all((a or b).startswith(("#", "data:image/png;base64,")) for a, b in links)
    assert "<dc:date>" not in drawn
    assert f"{entry.label}: {entry.title.split()[0]}" in " ".join(words(drawn))


def test_without_its_heading_it_is_less_high(tmp_path: Path) -> None:
    entry, preset = small("manchev-5")
    measured = fakes.fill(tmp_path, entry, preset)
    whole, part = (figures.draw(entry, preset, measured, heading=heading) for heading in (True, False))
    assert struct.unpack(">II", whole[16:24])[0] == struct.unpack(">II", part[16:24])[0]
    assert struct.unpack(">II", whole[16:24])[1] > struct.unpack(">II", part[16:24])[1] + 50
    assert entry.paper not in figures.draw(entry, preset, measured, "svg", heading=False).decode()


def test_the_papers_numbers_stand_beside_ours(tmp_path: Path) -> None:
    entry, preset = small("manchev-2")
    found = words(svg(entry, preset, fakes.fill(tmp_path, entry, preset, short)))
    assert {"paper", "46,500", "56,000", "not reached (0 of 2)", "iterations (logarithmic)"} <= {*found}
    assert found.count("700") >= 1


def test_orders_of_growth_stand_beside_our_numbers(tmp_path: Path) -> None:
    entry, preset = small("kag-1")
    found = words(svg(entry, preset, fakes.fill(tmp_path, entry, preset)))
    assert found.count("Ω(T/K)") == 6
    assert found.count("paper") == 1  # the column: there is no mark to explain


def test_numbers_over_alpha_stand_beside_the_level_without_it(tmp_path: Path) -> None:
    entry, preset = small("kag-alpha")
    measured = fakes.fill(tmp_path, entry, preset)
    for cell in measured:
        alpha = float(cell.row.removeprefix("alpha = "))
        measured[cell] = replace(measured[cell], value=5 + alpha)
    (axes,) = drawn(entry, preset, measured)
    curves = named_curves(axes)
    x, y = curves["FPTT"].get_data()
    assert [*x] == [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 0.8, 1.0]
    assert [*y] == pytest.approx([5 + alpha for alpha in x])
    assert [*curves["online TBPTT (alpha = 0)"].get_ydata()] == [5.0, 5.0]
    assert axes.get_xlabel() == "alpha (logarithmic)"


def test_a_length_that_the_budget_ended_has_an_arrow(tmp_path: Path) -> None:
    entry, preset = small("manchev-1", seeds=1)
    cells = [Cell("temporal", "TPTT", 1)]
    ended = svg(entry, preset, fakes.fill(tmp_path / "a", entry, preset, cells=cells))
    assert any(text.startswith("at least ") for text in words(ended))
    assert "or more: stopped by the budget" in words(ended)
    failed = svg(entry, preset, fakes.fill(tmp_path / "b", entry, preset, short, cells))
    assert "or more: stopped by the budget" not in words(failed)


def test_numbers_that_cannot_be_compared_stand_without_the_papers(tmp_path: Path) -> None:
    entry, preset = small("manchev-a4", seeds=1)
    measured = fakes.fill(tmp_path, entry, preset)
    assert "the paper's best" not in words(svg(entry, preset, measured))
    assert "the paper's best" in words(svg(entry, replace(preset, comparable=True), measured))
    entry, preset = small("wiseman-1")
    measured = fakes.fill(tmp_path / "texts", entry, preset)
    assert not {"paper", "127.43"} & {*words(svg(entry, preset, measured))}
    assert {"paper", "127.43"} <= {*words(svg(entry, replace(preset, comparable=True), measured))}


def drawn(entry: Entry, preset: Preset, measured: dict[Cell, Measured]) -> list[Any]:
    """The panels of an entry's figure."""
    figure = figures.FIGURES[entry.plan().draw](figures.View(entry, preset, measured))
    return [axes for axes in figure.axes if axes.get_visible()]


def named_curves(axes: Any) -> dict[str, Any]:
    """The curves of a panel by the names in the legend."""
    return dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))


CURVES = [name for name in RUNNABLE if entries.load(name).plan().draw in ("accuracy", "errors", "perplexity")]


@pytest.mark.parametrize("name", CURVES)
def test_no_two_methods_of_a_panel_look_the_same(name: str, tmp_path: Path) -> None:
    """With as many methods as any entry has, in every row."""
    entry, preset = small(name, seeds=1)
    plan = entry.plan()
    most = max(len(entries.load(other).plan().entrants) for other in RUNNABLE)
    every = [replace(plan.entrants[i % len(plan.entrants)], name=f"method {i}", rows=None) for i in range(most)]
    entry = replace(entry, run=replace(plan, entrants=every), claims=[])
    preset = replace(preset, rows=None, entrants=None, special=[])
    panels = drawn(entry, preset, fakes.fill(tmp_path, entry, preset))
    assert len(panels) == len(entry.row_names())
    for axes, row in zip(panels, entry.row_names(), strict=True):
        curves = named_curves(axes)
        assert (axes.get_title("left"), [*curves][:most]) == (figures.row_label(entry, row), [e.name for e in every])
        assert len({(curves[e.name].get_color(), curves[e.name].get_linestyle()) for e in every}) == most


def test_accuracies_lie_where_as_much_was_read(tmp_path: Path) -> None:
    """Over passes: batches of 12 get less far in an iteration than those of 128. Without data, over iterations."""
    entry, preset = small("kag-6", seeds=1)
    (axes,) = drawn(entry, preset, fakes.fill(tmp_path / "digits", entry, preset))
    assert axes.get_xlabel() == "passes through the training data"
    for i, (name, batch) in enumerate({"FPTT": 128, "online TBPTT": 128, "BPTT, small batches": 12}.items()):
        checks = 3 + 3 * (i if i < 2 else 4)
        assert named_curves(axes)[name].get_xdata()[-1] == pytest.approx(checks * fakes.PASS * batch / 1_000, rel=1e-3)
    settings = preset.settings | {"task": "mnist-pixels", "length": 784, "data_dir": str(tmp_path / "none")}
    preset = replace(preset, settings=settings)
    (axes,) = drawn(entry, preset, fakes.fill(tmp_path / "missing", entry, preset))
    assert axes.get_xlabel() == "iteration"
    assert named_curves(axes)["FPTT"].get_xdata()[-1] == 3 * fakes.PASS


def test_many_names_stand_above_the_panels(tmp_path: Path) -> None:
    """Seven methods of table 6 fill two lines; neither runs into a panel's title, nor out of the figure."""
    entry, preset = small("kag-6", seeds=1)
    preset = replace(preset, entrants=None, comparable=True)
    figure = figures.FIGURES["accuracy"](figures.View(entry, preset, fakes.fill(tmp_path, entry, preset)))
    figure.canvas.draw()
    (legend,) = figure.legends
    names, title = legend.get_window_extent(), figure.axes[0].title.get_window_extent()
    assert len(legend.get_texts()) == 9
    assert len({round(text.get_window_extent().y0) for text in legend.get_texts()}) > 1
    assert names.y0 > figure.axes[0]._left_title.get_window_extent().y1 >= title.y1
    assert names.x1 < figure.bbox.x1


def test_tokens_are_counted_in_a_unit_that_suits_them(tmp_path: Path) -> None:
    assert [curves._unit(n) for n in (3e3, 4e3, 3e6, 5e6)] == [
        (1.0, ""), (1e3, " (thousands)"), (1e3, " (thousands)"), (1e6, " (millions)"),
    ]  # fmt: skip
    entry, preset = small("kag-5", seeds=1)
    found = words(svg(entry, preset, fakes.fill(tmp_path, entry, preset)))
    assert any(text.startswith("tokens read") for text in found)
    ticks = [text for text in found if text.replace(",", "").isdigit()]
    assert len({*ticks}) > 4


def test_a_long_subtitle_is_wrapped() -> None:
    for name in ("kag-5", "wiseman-1"):
        entry, preset = small(name)
        about = f"{entry.paper}; computed: {preset.about}; not comparable with the paper's numbers"
        size, lines = parts._fitting(about, 72 * 10.2)
        assert 1 < len(lines) <= 3
        assert " ".join(lines) == about
        assert max(parts._width(line, size) for line in lines) <= 72 * 10.2


@pytest.mark.parametrize("name", ["kag-5", "wiseman-1", "kag-6"])
def test_a_title_has_room_however_long_its_subtitle(name: str, tmp_path: Path) -> None:
    """As far from the upper edge as with a subtitle of one line."""
    entry, preset = small(name, seeds=1)
    measured = fakes.fill(tmp_path, entry, preset)
    figure = figures.FIGURES[entry.plan().draw](figures.View(entry, preset, measured))
    more = parts.head(figure, entry, preset)
    title = next(text for text in figure.texts if text.get_text().startswith(entry.label))
    high = figure.get_figheight()
    assert high + more - title.get_position()[1] * high == pytest.approx(0.30)
    assert more == 0 or name != "kag-6"
    png = figures.draw(entry, preset, measured)
    assert struct.unpack(">I", png[20:24])[0] == pytest.approx(130 * (high + more), abs=2)


def test_a_figure_has_the_units_of_its_table(tmp_path: Path) -> None:
    """Bits by characters, perplexity by words."""
    entry, preset = small("kag-5", seeds=1)
    measured = fakes.fill(tmp_path, entry, preset)
    characters, by_words = drawn(entry, preset, measured)
    assert (characters.get_ylabel(), by_words.get_ylabel()) == ("bits a character", "perplexity")
    text = Run(measured[Cell("words", "FPTT", 1)].runs[0].run).metrics.read_text()
    log = [json.loads(line) for line in text.splitlines()]
    nll = [line["scores"]["nll"] for line in log if "scores" in line][-1]
    assert named_curves(by_words)["FPTT"].get_ydata()[-1] == pytest.approx(math.exp(nll))
    assert named_curves(characters)["FPTT"].get_ydata()[-1] == pytest.approx(nll / math.log(2))


def test_errors_are_named_and_stand_beside_the_constant_answer(tmp_path: Path) -> None:
    entry, preset = small("kag-figure-2", seeds=1)
    measured = fakes.fill(tmp_path, entry, preset)
    panels = drawn(entry, preset, measured)
    assert panels[0].get_ylabel() == "mean squared error"
    for axes in panels:
        levels = [line for line in axes.lines if list(line.get_ydata()) == [1 / 6, 1 / 6]]
        assert len(levels) == 1
    assert "constant answer: 0.167" in words(svg(entry, preset, measured))


def test_rows_stand_in_the_order_of_the_table_whatever_was_computed_first(tmp_path: Path) -> None:
    entry, preset = small("kag-figure-2", seeds=1)
    preset = replace(preset, seeds=[1, 2])
    chosen = [cell for cell in entries.cells(entry, preset) if (cell.row == "K=10") == (cell.seed == 2)]
    panels = drawn(entry, preset, fakes.fill(tmp_path, entry, preset, cells=chosen))
    assert [axes.get_title("left") for axes in panels] == ["K=1", "K=10", "K=200"]


def test_what_is_not_computed_is_named_whoever_it_is_of(tmp_path: Path) -> None:
    """A control too, of which the paper prints nothing."""
    entry, preset = small("wiseman-1", seeds=1)
    chosen = [cell for cell in entries.cells(entry, preset) if cell.row == "Minibatch PTB, B=20"]
    measured = fakes.fill(tmp_path, entry, preset, cells=chosen[:1])
    found = words(svg(entry, preset, measured))
    assert found.count("not computed") == len(chosen) - 1
    assert {cell.entrant for cell in chosen} <= {*found}


def test_the_axis_is_logarithmic_where_runs_are_far_apart(tmp_path: Path) -> None:
    entry, preset = small("manchev-figure-8", seeds=1)
    measured = fakes.fill(tmp_path, entry, preset)
    assert "iteration" in words(svg(entry, preset, measured))
    far = {cell: stretched(found, 10 if cell.entrant == "sync" else 1) for cell, found in measured.items()}
    assert "iteration (logarithmic)" in words(svg(entry, preset, far))


def stretched(found: Measured, times: int) -> Measured:
    return replace(found, runs=[replace(run, iterations=run.iterations * times) for run in found.runs])


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edit every line of a log."""
    log = [json.loads(line) for line in path.read_text().splitlines()]
    for line in log:
        edit(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in log))


def uneven(line: dict[str, Any]) -> None:
    """As many layers as the sequences are long, which differ; one number is missing, one is zero."""
    if "measures" in line:
        layers = [1e-6] * (30 + line["iteration"] % 3)
        line["measures"] = {"angle": None, "layers_f": [None, 0.0, *layers], "layers_g": layers}


def empty(line: dict[str, Any]) -> None:
    for key in ("measures", "grad_norms", "spectral_radius"):
        line.pop(key, None)
    line["loss"] = None


def flat(line: dict[str, Any]) -> None:
    line["loss"] = 0.0


@pytest.mark.parametrize("edit", [uneven, empty, flat])
@pytest.mark.parametrize("name", ["manchev-figure-3", "manchev-figure-4", "manchev-figure-5", "manchev-figure-6"])
def test_logs_with_gaps_are_drawn(name: str, edit: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    entry, preset = small(name, seeds=1)
    measured = fakes.fill(tmp_path, entry, preset)
    for found in measured.values():
        change(Run(found.runs[0].run).metrics, edit)
    assert figures.draw(entry, preset, measured).startswith(b"\x89PNG")


def test_nothing_is_no_figure() -> None:
    entry, preset = small("manchev-1")
    with pytest.raises(InputError, match="nothing to draw"):
        figures.draw(entry, preset, {})


def test_drawing_leaves_the_global_state_of_matplotlib_alone(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from experiments.papers import entry, figures\n"
        "from tests.experiments.report import fakes\n"
        "e = entry.load('manchev-figure-7'); p = e.presets['quick']\n"
        f"m = fakes.fill(pathlib.Path({str(tmp_path)!r}), e, p)\n"
        "figures.draw(e, p, m); figures.draw(e, p, m, 'svg')\n"
        "import matplotlib; print('matplotlib.pyplot' in sys.modules, matplotlib.rcParams['svg.fonttype'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "path"]
