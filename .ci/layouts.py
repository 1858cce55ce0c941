"""The layouts' check: counts the rows of whole directories with the libraries that people use to open them.

A reader gets a directory or a pattern. It must find each row of the exports once, and nothing else: before a run
that replaces the data, after that run was killed, and after the next run has finished its work. All of this is
done on the local disk, and in a store (moto). Each comparison prints one line, for one reader and one target. The
readers of the set `light` are in requirements.txt, those of the set `complete` in layouts.txt.

    layouts.py BINARY MOTO_PYTHON light|complete
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from directories import KEY, REGION, DirectoryReader, copy_parts, readers
from expected import Different, Source
from serving import Tally, serving
from stores import BUCKET, Proxy, Tool, free_port, running, through

NIGHTS = 3
ROWS = 1_200
ROWS_PER_FILE, PAGE_SIZE = 300, 25
# A run to be killed needs at least 6 s for its 48 pages. Its second part begins after 1.5 s.
RATE = "8/s"
SECOND_PART = "part-00001"
# Time limit for the second part to begin.
BEGIN_SECONDS = 120

# The forms in which the readers get each target, with the format of its parts.
FORMS = {
    "out": ("parquet", ["out", "out/", "out/*", "out/*.parquet", "out/**/*.parquet"]),
    "lines": ("jsonl", ["lines", "lines/", "lines/*", "lines/*.json*", "lines/**/*.json*"]),
    "arrow": ("arrow", ["arrow", "arrow/", "arrow/*", "arrow/*.arrow"]),
    "nightly": (
        "parquet",
        ["root/nightly", "root/nightly/", "root/nightly/**/*.parquet", "root/nightly/*/*.parquet"],
    ),
    "texts": ("jsonl", ["root/texts", "root/texts/", "root/texts/**/*.json*", "root/texts/*/*.json*"]),
}
EXPORTS = {"out": "parquet", "lines": "jsonl", "arrow": "arrow"}
JOBS = {"nightly": "parquet", "texts": "jsonl"}


class Place:
    """A folder, or a bucket: where the command writes, and where the readers look."""

    def __init__(self, name: str, base: str, endpoint: str):
        self.name, self.base, self.endpoint = name, base, endpoint
        # The ids that each target must have now.
        self.expected = {target: [] for target in FORMS}

    def export(self, target: str) -> list[str]:
        """Returns the output of an export and its options."""
        parts = ["--rows-per-file", str(ROWS_PER_FILE), "--page-size", str(PAGE_SIZE)]
        return [f"{self.base}{target}/", "--format", EXPORTS[target], "--overwrite", "--quiet", *parts]


def write_nights(folder: Path) -> list[Source]:
    """Writes the dataset of each night. No two nights have an id in common, so a row counted twice is noticed."""
    sources = []
    for night in range(NIGHTS):
        path = folder / f"night{night}" / "dataset.jsonl"
        path.parent.mkdir()
        with path.open("w") as lines:
            for order in range(ROWS + night):
                id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{night} {order}"))
                row = {"id": id, "order": order, "input": {"text": f"row {order}"}, "persona": "calm"}
                lines.write(json.dumps(row) + "\n")
        sources.append(Source(path))
    return sources


def write_jobs(place: Place, path: Path, dataset: str) -> None:
    text = f'[defaults]\nroot = "{place.base}root"\nunchanged = "never"\n'
    text += f"rows_per_file = {ROWS_PER_FILE}\npage_size = {PAGE_SIZE}\n"
    for job, format in JOBS.items():
        text += f'[[job]]\nname = "{job}"\ndataset = "{dataset}"\nformat = "{format}"\n'
    path.write_text(text)
    path.chmod(0o600)


def check_place(tally: Tally, binary: str, folder: Path, place: Place, nights: list[Source], used: list) -> None:
    """Publishes, reads, kills, reads, publishes, reads."""
    jobs = folder / f"{place.name}.toml"
    variables = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": place.endpoint,
    }
    for number, source in enumerate(nights):
        with serving(binary, [source]) as (url, ids):
            tool = Tool(binary, url, ids[source.name], folder, variables)
            write_jobs(place, jobs, tool.dataset)
            snapshot = ["snapshot", "--config", str(jobs), "--quiet"]
            if number == NIGHTS - 1:
                for target in FORMS:
                    form = FORMS[target][1][0]
                    copy_parts(f"{place.base}{form}", f"{place.base}only/{form}", place.endpoint)
                check_readers(tally, place, "before", used)
                kill_runs(tool, place, snapshot)
                check_readers(tally, place, "killed", used)
            ids = source.columns["id"]
            if number in (0, NIGHTS - 1):
                for target in EXPORTS:
                    tool.export(*place.export(target))
                    place.expected[target] = ids
            tool.run(*snapshot)
            for job in JOBS:
                place.expected[job] = place.expected[job] + ids
    check_readers(tally, place, "again", used)


def kill_runs(tool: Tool, place: Place, snapshot: list[str]) -> None:
    """Starts a run to each target, and kills them when each has begun its second part."""
    commands = {target: ["export", tool.dataset, "-o", *place.export(target)] for target in EXPORTS}
    commands |= {job: [*snapshot, job] for job in JOBS}
    with contextlib.ExitStack() as stack:
        runs, began = {}, {}
        for target, command in commands.items():
            runs[target], began[target] = start_slow(stack, tool, place, target, command)
        deadline = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < deadline and all(run.poll() is None for run in runs.values()):
            if all(has_begun() for has_begun in began.values()):
                break
            time.sleep(0.02)
    for target, run in runs.items():
        assert run.returncode == -signal.SIGKILL, f"{target}: the run ended with {run.returncode} before it was killed"
        assert began[target](), f"{target}: the run has begun no second part"


def start_slow(
    stack: contextlib.ExitStack, tool: Tool, place: Place, target: str, command: list[str]
) -> tuple[subprocess.Popen, Callable[[], bool]]:
    """Starts a run that the stack kills. Returns it, and a function that says whether its second part has begun."""
    if place.name == "store":
        # The upload of the second part never arrives.
        proxy = Proxy(int(place.endpoint.rpartition(":")[2]), rf"PUT .*{SECOND_PART}[^/]*uploadId=")
        stack.callback(proxy.close)
        run = through(tool, proxy, "AWS_ENDPOINT_URL").start(*command)
        has_begun = proxy.held.is_set
    else:
        before = local_files(place)
        run = tool.start(*command, "--rate-limit", RATE)
        pattern = rf"\b{target}\b.*{SECOND_PART}"
        has_begun = lambda: any(re.search(pattern, file) for file in local_files(place) - before)
    stack.callback(run.communicate)
    stack.callback(run.kill)
    return run, has_begun


def local_files(place: Place) -> set[str]:
    # Folders can disappear meanwhile. os.walk passes over them.
    return {f"{folder}/{name}".removeprefix(place.base) for folder, _, names in os.walk(place.base) for name in names}


def check_readers(tally: Tally, place: Place, state: str, used: list[DirectoryReader]) -> None:
    """Reads every target in every form that a reader can read. Prints one line for a reader and a target."""
    for reader in used:
        for target, (format, forms) in FORMS.items():
            able = [form for form in forms if reader.why_not(place.name, format, form) is None]
            if not able:
                continue
            expected = place.expected[target]
            with tally.comparison(f"{place.name}, {state}, {reader.name}: {', '.join(able)}", len(expected)):
                faults = []
                for form in able:
                    if fault := count(reader, format, f"{place.base}{form}", expected):
                        faults.append(f"{form}: {fault}")
                if faults:
                    raise Different("; ".join(faults))


def count(reader: DirectoryReader, format: str, path: str, expected: list[str]) -> str | None:
    """Returns what is wrong if a reader does not find each expected row once."""
    try:
        found = Counter(reader.read(format, path))
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    wanted = Counter(expected)
    if found == wanted:
        return None
    surplus, missing = (found - wanted).total(), (wanted - found).total()
    return f"{found.total():,} rows: {surplus:,} too many, {missing:,} missing"


def check_limits(tally: Tally, place: Place, used: list[DirectoryReader]) -> None:
    """Tries the forms that a reader is said not to read, on a copy of the parts. A form that it reads must be compared."""
    for reader in used:
        able = []
        reasons = {}
        for format, forms in FORMS.values():
            for form in forms:
                if why := reader.why_not(place.name, format, form):
                    reasons.setdefault(why, []).append(form)
                    with contextlib.suppress(Exception):
                        reader.read(format, f"{place.base}only/{form}")
                        able.append(form)
        for why, forms in reasons.items():
            print(f"not compared: {place.name}, {reader.name}: {', '.join(forms)}: {why}", flush=True)
        if able:
            with tally.comparison(f"{place.name}, {reader.name}", 0):
                raise Different(f"reads {', '.join(able)} where only parts are, so it must be compared")


def main(binary: str, moto_python: str, chosen: str) -> int:
    # Turn SIGTERM into an exception, so that the servers are stopped and the folders are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    binary, moto_python = (str(Path(path).absolute()) for path in (binary, moto_python))
    tally = Tally()
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as name, running(
        [moto_python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port
    ):
        folder = Path(name)
        tempfile.tempdir = name
        nights = write_nights(folder)
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")).close()

        used = readers(chosen, endpoint)
        places = [Place("local", f"{name}/", endpoint), Place("store", f"s3://{BUCKET}/", endpoint)]
        for place in places:
            check_place(tally, binary, folder, place, nights, used)
        for place in places:
            check_limits(tally, place, used)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
