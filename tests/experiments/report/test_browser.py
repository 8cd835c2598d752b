"""The page in a real browser: its script runs, nothing is logged, nothing is wider than the window."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest

BROWSER = os.environ.get("CHROME") or next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no browser: install chromium or google-chrome, or name one in CHROME"
)

QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=5000",
    "--enable-logging=stderr",
    "--v=0",
)

Browse = Callable[..., str]


@pytest.fixture
def browse(html: str, tmp_path: Path) -> Browse:
    """Opens the page at a fragment, a script of the test's added to it; the document after all scripts ran."""

    def dom(fragment: str = "", width: int = 1200, text: str = html, *options: str) -> str:
        assert BROWSER is not None
        path = tmp_path / "page.html"
        path.write_text(text)
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [BROWSER, *QUIET, profile, f"--window-size={width},900", *options, "--dump-dom"]
        done = subprocess.run(
            [*command, f"{path.as_uri()}{fragment}"], capture_output=True, text=True, timeout=120, check=True
        )
        assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout

    return dom


def column(dom: str, number: int) -> list[str]:
    """What the table of runs shows in a column, markup left out."""
    table = dom[dom.index('id="all-runs"') :]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table[table.index("<tbody>") : table.index("</tbody>")], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [re.sub("<[^>]*>", "", row[number]) for row in cells]


def with_script(html: str, script: str) -> str:
    """The page with one more script, and without the policy that forbids it."""
    html = re.sub(r"<meta http-equiv=[^>]*>", "", html, count=1)
    return html.replace("</body>", f"<script>{script}</script></body>")


@pytest.mark.parametrize("width", [400, 1200])
def test_the_script_runs_and_nothing_is_too_wide(browse: Browse, html: str, width: int) -> None:
    """With all runs unfolded, in a frame: a window may not be so narrow. The page says what it measured."""
    unfold = """
        for (const card of document.querySelectorAll('details')) card.open = true;
        dispatchEvent(new Event('resize'));
        document.documentElement.dataset.width = innerWidth;
    """
    page = escape(with_script(html, unfold))
    told = "document.body.append(JSON.stringify({...this.contentDocument.documentElement.dataset}))"
    frame = f'<!doctype html><iframe width="{width}" height="900" frameborder="0" onload="{told}" srcdoc="{page}">'
    found = json.loads(browse("", 1300, f"{frame}</iframe>").rpartition("</iframe>")[2].partition("</body>")[0])
    assert found == {"ready": "true", "overflow": "0", "width": str(width)}


def test_runs_are_sorted(browse: Browse) -> None:
    up = [float(shown.replace(",", "")) for shown in column(browse("#sort=iterations"), 6)]
    assert up == sorted(up)
    down = browse("#sort=-iterations")
    assert [float(shown.replace(",", "")) for shown in column(down, 6)] == sorted(up, reverse=True)
    assert re.search(r'data-sort="iterations" aria-sort="descending"', down)
    assert column(browse("#sort=run"), 0)[0].startswith("bptt-adding-10")


def test_a_link_opens_its_run(browse: Browse) -> None:
    dom = browse("#run-3")
    (card,) = re.findall(r'<details class="card" open="">', dom)
    assert card
    assert dom.index(card) < dom.index('id="run-3"')


def test_a_chart_tells_its_numbers(browse: Browse, html: str) -> None:
    """The pointer at the right end of a cost: the last iteration, and the last number."""
    script = """
        const card = [...document.querySelectorAll('details.card')].find((one) => one.querySelector('.chart svg'));
        card.open = true;
        const svg = card.querySelector('.chart svg');
        const box = svg.getBoundingClientRect();
        const at = (part) => new PointerEvent('pointermove', {
            clientX: box.left + box.width * part, clientY: box.top + 5 });
        svg.dispatchEvent(at(0.97));
        document.documentElement.dataset.told = card.querySelector('.at').textContent + ' / ' +
            card.querySelector('.key b').textContent;
        svg.dispatchEvent(at(0.02));
        document.documentElement.dataset.left = card.querySelector('.at').textContent;
    """
    dom = browse("", 1200, with_script(html, script))
    (told,) = re.findall(r'data-told="([^"]*)"', dom)
    assert re.fullmatch(r"iteration [\d,]+ / [\d.e+-]+", told)
    assert 'data-left=""' in dom


def test_the_filter_hides_runs(browse: Browse, html: str) -> None:
    script = """
        const input = document.querySelector('.filter input');
        input.value = 'bptt adding';
        input.dispatchEvent(new Event('input'));
        const rows = [...document.querySelectorAll('#all-runs tbody tr')];
        document.documentElement.dataset.shown = rows.filter((row) => !row.hidden).map(
            (row) => row.cells[1].textContent + row.cells[2].textContent).join(' ');
        document.querySelector('#all-runs th[data-sort=seed] button').click();
        document.documentElement.dataset.sorted = document.querySelector('[aria-sort]').textContent;
    """
    dom = browse("", 1200, with_script(html, script))
    (shown,) = re.findall(r'data-shown="([^"]*)"', dom)
    assert {*shown.split()} == {"bpttadding"}
    assert 'data-sorted="seed"' in dom


def test_without_scripts_everything_is_there(browse: Browse, html: str) -> None:
    """The policy of the page forbids a script that was changed: what is left is the page without any."""
    dom = browse("", 1200, html.replace("<script>", "<template>").replace("</script>", "</template>"))
    assert "data-ready" not in dom[: dom.index("<body")]
    assert dom.count('class="curve') == html.count('class="curve')


def test_the_policy_keeps_foreign_scripts_out(browse: Browse, html: str) -> None:
    with pytest.raises(AssertionError, match="Content Security Policy"):
        browse("", 1200, html.replace("</body>", "<script>document.title = 'x'</script></body>"))


def test_it_follows_the_colours_of_the_system(html: str, tmp_path: Path) -> None:
    """Screenshots in light and dark differ."""
    assert BROWSER is not None
    path = tmp_path / "page.html"
    path.write_text(html)
    shots = []
    for name, options in (("light", []), ("dark", ["--force-dark-mode"])):
        shot = tmp_path / f"{name}.png"
        command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / name}", "--window-size=800,600", *options]
        subprocess.run([*command, f"--screenshot={shot}", path.as_uri()], capture_output=True, timeout=120, check=True)
        shots.append(shot.read_bytes())
    assert all(shot.startswith(b"\x89PNG") for shot in shots)
    assert shots[0] != shots[1]
