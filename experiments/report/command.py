"""The command `report`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import exits, files
from experiments.display import print_scores
from experiments.errors import RunError, cause
from experiments.report import words
from experiments.report.collect import Collection, collect


def report(paths: Sequence[Path], out: Path, json: bool = False) -> int:
    """Write the page, and say on standard output where it is and what became of the claims.

    Args:
        paths: run directories, or folders that hold some.
        out: the page.
        json: print one JSON object, and nothing else, on standard output.

    Raises:
        RunError: if there is no run to read, or the page cannot be written.
    """
    from experiments.report.page import page

    files.check_writable(out)  # before the work
    found = collect(paths)
    for one in found.damaged:
        print(f"left out: {one.name}: {one.why}", file=sys.stderr)
    try:
        files.write_atomic(out, page(found))
    except OSError as error:
        raise RunError(f"cannot write {out} ({cause(error)}): use another --out") from error
    if json:
        print_scores(_as_json(found, out), as_json=True)
    else:
        print("\n".join(_lines(found, out)), flush=True)
    return exits.FINISHED


def _lines(found: Collection, out: Path) -> list[str]:
    lines = [f"report: {out}", " ".join(words.summary(found))]
    for table in found.tables:
        entry = table.entry
        lines.append(f"{entry.id} ({entry.title}): {len(table.measured)} of {table.cells} cells")
        for verdict in table.verdicts:
            kind = "claim" if verdict.claim.by == "paper" else "question"
            lines.append(f"  {words.badge(verdict)[0]}: {kind}: {verdict.claim.text}")
            lines.append(f"    {verdict.sentence}")
    return lines


def _as_json(found: Collection, out: Path) -> dict[str, Any]:
    return {
        "report": out,
        "runs": len(found.items),
        "solved": sum(item.solved for item in found.items),
        "seconds": found.seconds,
        "damaged": [{"name": one.name, "why": one.why} for one in found.damaged],
        "tables": [
            {
                "table": table.entry.id,
                "preset": table.preset_name,
                "cells": table.cells,
                "computed": len(table.measured),
                "claims": [
                    {"text": v.claim.text, "by": v.claim.by, "rows": v.rows, "seeds": v.seeds, "on": v.on or None}
                    for v in table.verdicts
                ],
            }
            for table in found.tables
        ],
    }
