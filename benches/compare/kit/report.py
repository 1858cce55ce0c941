"""Formats the results as full text tables, and as a short Markdown table for the guide's performance page."""

import json
import os
import platform
import statistics
import time
from dataclasses import asdict
from pathlib import Path

from . import places
from .contestants import COLUMNS, OURS

LEGEND = f"""\
wall: from process start to exit; median, min and max of the rounds. x ours: wall of the contestant / wall of overmind-export (first line).
cpu: user and system time of all cores, median. peak MB: resident memory, median. codec: with the level, if the tool has levels.
columns: 6 means {', '.join(COLUMNS)}."""


def machine():
    """Return one line that describes this machine and its current load."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    load = os.getloadavg()[0]
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.release()}, {date}, load {load:.1f} before the first run"


def median(outcome, name):
    return statistics.median(getattr(run, name) for run in outcome.runs)


def column_text(columns):
    if not columns:
        return ""
    extra = [name for name in columns if name not in COLUMNS]
    return f"6 + {', '.join(extra)}" if extra else "6"


def write_table(table, outcomes, rounds):
    """Return the full table as text."""
    lines = [f"{table.name} - {table.description}; {rounds} round{'s' if rounds > 1 else ''}"]
    heads = f"{'wall s':>8} {'min':>7} {'max':>7} {'x ours':>7} {'cpu s':>7} {'peak MB':>8} {'MB out':>7} {'rows/s':>10}"
    lines.append(f"{'':36}{heads}  {'codec':8}{'columns':8}")
    # The first line is overmind-export with default settings, unless --only excludes it.
    first = outcomes[0] if outcomes else None
    ours = median(first, "wall") if first and first.runs and first.contestant.name.startswith(OURS) else None
    for outcome in outcomes:
        name = outcome.contestant.name
        if not outcome.runs:
            lines.append(f"{name:36}failed: {outcome.failure}" if outcome.failure else f"{name:36}correct, not timed")
            continue
        wall, cpu, peak, size = (median(outcome, figure) for figure in ("wall", "cpu", "peak_mb", "out_mb"))
        walls = [run.wall for run in outcome.runs]
        ratio = f"{wall / ours:7.2f}" if ours else f"{'':7}"
        out = f"{size:7.1f}" if size else f"{'':7}"
        rate = f"{table.dataset.rows / wall:10,.0f}" if wall else f"{'':10}"
        notes = "; ".join([column_text(outcome.columns), *outcome.notes]).strip("; ")
        figures = f"{wall:8.2f} {min(walls):7.2f} {max(walls):7.2f} {ratio} {cpu:7.2f} {peak:8.0f} {out} {rate}"
        lines.append(f"{name:36}{figures}  {outcome.contestant.codec:8}{notes}".rstrip())
    return "\n".join(lines)


def write_readme_table(results):
    """Return the export tables side by side as Markdown. A cell has wall time, peak memory and file size."""
    results = [(table, outcomes) for table, outcomes in results if table.kind == "export"]
    names = list(dict.fromkeys(outcome.contestant.name for _, outcomes in results for outcome in outcomes))
    lines = ["| | " + " | ".join(table.description.split(": ", 1)[1] for table, _ in results) + " |"]
    lines.append("|---" * (len(results) + 1) + "|")
    for name in names:
        cells = []
        for _, outcomes in results:
            outcome = next((each for each in outcomes if each.contestant.name == name), None)
            if outcome and outcome.runs:
                size = f", {median(outcome, 'out_mb'):.1f} MB file" if median(outcome, "out_mb") else ""
                cells.append(f"{median(outcome, 'wall'):.2f} s, {median(outcome, 'peak_mb'):.0f} MB{size}")
            else:
                cells.append("failed" if outcome and outcome.failure else "–")
        codec = next(each.contestant.codec for _, outcomes in results for each in outcomes if each.contestant.name == name)
        lines.append(f"| {name}{f' ({codec})' if codec else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def save(table, outcomes, machine_line):
    """Save every run as JSON in BENCH_DIR/results. Return the path."""
    path = places.RESULTS / f"{table.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    contestants = {
        outcome.contestant.name: {
            "codec": outcome.contestant.codec,
            "columns": outcome.columns,
            "notes": outcome.notes,
            "wrong": outcome.failure,
            "runs": [asdict(run) for run in outcome.runs],
        }
        for outcome in outcomes
    }
    record = {"table": table.name, "description": table.description, "machine": machine_line, "contestants": contestants}
    path.write_text(json.dumps(record, indent=1))
    return path
