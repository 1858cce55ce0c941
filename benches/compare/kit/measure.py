"""Runs each contestant: one untimed run to check the output, then timed rounds."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

from . import places
from .contestants import Job, of_table
from .prepare import TIME

# A longer run counts as failed. The slowest run in the guide's tables takes 30 s.
RUN_SECONDS = 1800
# The type of the files that the contestants of a table read.
FILE_TYPES = {"diff": "parquet", "verify": "parquet", "report": "parquet", "convert": "parquet", "nested": "jsonl"}


class Failed(Exception):
    """A failed run, with the reason as text."""


@dataclass(frozen=True)
class Run:
    wall: float  # seconds, of the contestant's own clock if it has one
    cpu: float  # seconds of all cores, user and system
    peak_mb: float
    out_mb: float
    printed: dict  # the JSON object on standard output, empty if there was none


@dataclass
class Outcome:
    """The results of one contestant in one table."""

    contestant: object
    failure: str = ""  # reason why it was not timed
    notes: list = field(default_factory=list)
    columns: list = field(default_factory=list)
    runs: list = field(default_factory=list)


def execute(command, exit_codes):
    """Run a command under GNU time.

    Linux reports at least the parent's memory as the child's peak, so the parent must be small.
    """
    times = places.BENCH_DIR / "time.txt"
    command = [TIME, "--output", times, "--format", "%U %S %M", *command]
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=places.contestant_environment(), start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=RUN_SECONDS)
    except BaseException as error:
        # The command has its own session, so its process id is also its group id. Killing the group ends its
        # children too.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failed(f"it ran for more than {RUN_SECONDS} s") from None
        raise
    wall = time.perf_counter() - started  # GNU time has a resolution of only 10 ms
    if process.returncode not in exit_codes:
        last_line = (stderr.strip().splitlines() or ["no message"])[-1]
        raise Failed(f"exit code {process.returncode}: {last_line}")
    # If the exit code is not 0, GNU time writes a message before the figures.
    user, system, peak_kb = map(float, times.read_text().splitlines()[-1].split())
    return stdout, wall, user + system, peak_kb


def size_mb(path):
    files = [path] if path.is_file() else [file for file in path.rglob("*.parquet")] if path.is_dir() else []
    return sum(file.stat().st_size for file in files) / 1e6


def run_once(contestant, job):
    out = places.OUTPUT / "rows.parquet"
    shutil.rmtree(places.OUTPUT, ignore_errors=True)
    places.OUTPUT.mkdir(parents=True)
    stdout, wall, cpu, peak_kb = execute(contestant.command(job), contestant.exit_codes)
    printed = json.loads(stdout) if stdout.startswith("{") else {}
    # A contestant with a slow start, which is no part of the job, has a clock of its own.
    wall = printed.get("seconds", wall)
    return Run(wall, cpu, peak_kb * 1024 / 1e6, size_mb(out), printed)


def check_parquet(dataset, outcome):
    script, expected = ("check.py", dataset.expected)
    if outcome.contestant.check == "nested":
        script, expected = ("check_nested.py", dataset.folder)
    command = [places.python_of("check"), places.HERE / "data" / script, places.OUTPUT / "rows.parquet", expected]
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if process.returncode != 0:
        raise Failed(f"cannot read its output: {process.stderr.strip().splitlines()[-1]}")
    result = json.loads(process.stdout)
    outcome.columns = result["columns"]
    if not result["in_order"]:
        outcome.notes.append("order lost")
    codec = outcome.contestant.codec
    if codec and result["codecs"] != [codec.split()[0]]:
        raise Failed(f"its codec is {', '.join(result['codecs'])}, not {codec}")
    if result["problems"]:
        raise Failed("; ".join(result["problems"]))


def check(outcome, job, table):
    """Run a contestant once without timing. Compare its output with the dataset."""
    contestant = outcome.contestant
    run = run_once(contestant, job)
    expected = json.loads(table.datasets[-1].expected.read_text())
    if contestant.check in ("parquet", "nested"):
        check_parquet(table.dataset, outcome)
    elif contestant.check == "bytes":
        if run.printed.get("bytes") != expected["bytes"]:
            raise Failed(f"it read {run.printed.get('bytes')} bytes instead of {expected['bytes']}")
    elif contestant.check == "rows":
        if run.printed.get("rows") != table.dataset.rows:
            raise Failed(f"it read {run.printed.get('rows')} rows instead of {table.dataset.rows}")
    elif contestant.check == "changes":
        found = {kind: run.printed.get(kind) for kind in expected["changes"]}
        if found != expected["changes"]:
            raise Failed(f"it found {found} instead of {expected['changes']}")


def make_job(table, binary, out):
    dataset = table.dataset
    exports = ()
    if table.kind in FILE_TYPES:
        folder, file_type = places.BENCH_DIR / "exports", FILE_TYPES[table.kind]
        exports = tuple(folder / f"version-{each.version}.{file_type}" for each in table.datasets)
    return Job(binary, dataset.base_url, dataset.id, dataset.page_size, dataset.folder, out, exports)


def make_exports(table, binary):
    """Export the files that the contestants of a table read."""
    folder = places.BENCH_DIR / "exports"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for dataset, path in zip(table.datasets, make_job(table, binary, "-").exports):
        command = [binary, "export", dataset.id, "--output", path, "--base-url", dataset.base_url, "--quiet"]
        status = subprocess.run([str(part) for part in command], env=places.contestant_environment()).returncode
        if status != 0:
            raise Failed(f"cannot export version {dataset.version}: exit code {status}")


def attempt(outcome, action):
    """Run an action. If it fails, record the reason and exclude the contestant from this table."""
    try:
        return action()
    except Failed as failure:
        outcome.failure = str(failure)
        outcome.runs.clear()
        return None


def progress(text):
    print(text, file=sys.stderr, flush=True)


def run_table(table, binary, rounds, wanted):
    """Check every contestant, then time the correct ones. Every second round runs them in reverse order."""
    outcomes = [Outcome(contestant) for contestant in of_table(table, wanted)]
    checked_job = make_job(table, binary, str(places.OUTPUT / "rows.parquet"))
    timed_job = make_job(table, binary, "-") if table.kind in ("pandas", "polars", "pyarrow") else checked_job
    if table.kind in FILE_TYPES:
        progress(f"{table.name}: exporting the files that the contestants read")
        try:
            make_exports(table, binary)
        except Failed as failure:
            for outcome in outcomes:
                outcome.failure = str(failure)
            return outcomes
    for outcome in outcomes:
        progress(f"{table.name}: checking {outcome.contestant.name}")
        attempt(outcome, lambda: check(outcome, checked_job, table))
        if outcome.failure:
            progress(f"{table.name}: {outcome.contestant.name} failed: {outcome.failure}")
    for number in range(rounds):
        correct = [outcome for outcome in outcomes if not outcome.failure]
        for outcome in correct if number % 2 == 0 else reversed(correct):
            progress(f"{table.name}: round {number + 1} of {rounds}, {outcome.contestant.name}")
            run = attempt(outcome, lambda: run_once(outcome.contestant, timed_job))
            if run:
                outcome.runs.append(run)
    shutil.rmtree(places.OUTPUT, ignore_errors=True)
    return outcomes
