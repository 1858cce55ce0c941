"""The check of dataset cards: reads exports with the Python package `datasets`, without a network.

The embedded API serves a generated dataset. The check exports it in each format with a card and with splits, and
`load_dataset` reads the directory. It must find each split with its rows, in their order, and with their values.
Each comparison prints one line.

    hub.py BINARY
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

FORMATS = ("parquet", "arrow", "jsonl", "jsonl.gz", "jsonl.zst", "csv")
COLUMNS = ("--column", "turns:int=.input.messages | length", "--column", 'at:timestamp="2026-01-31T12:00:00Z"')
# Some groups of pages have no row in a split, and the split `rest` has none at all.
ROWS = ("--where", ".order >= 400", "--rows-per-file", "60", "--page-size", "25")


class Server:
    """The embedded API with a generated dataset."""

    def __init__(self, binary: str):
        command = [binary, "demo", "--serve", "--rows", "900"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        self.dataset = self.process.stdout.readline().split()[0]

    def export(self, binary: str, output: Path, *arguments: str) -> None:
        environment = os.environ | {"OVERMIND_LAB_BASE_URL": self.url, "OVERMIND_LAB_API_KEY": "any"}
        command = [binary, "export", self.dataset, "--quiet", "-o", f"{output}/", *COLUMNS, *ROWS, *arguments]
        subprocess.run(command, env=environment, check=True)


def expected(folder: Path) -> list[dict]:
    """The rows of a folder of JSON Lines whose JSON columns are text."""
    parts = sorted(folder.glob("part-*"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def plain(name: str, value: object) -> object:
    """A value as text form: JSON columns are compared as JSON, times as the text of their first digits."""
    if name == "at":
        return str(value).replace("T", " ")[:19]
    if name in ("input", "expected_output", "tags", "additional_properties"):
        return pruned(parsed(value) if isinstance(value, str) else value)
    return value


def parsed(text: str) -> object:
    """The value of a JSON text. The loader gives a string of JSON Lines as it is, which is not always JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def pruned(value: object) -> object:
    """Without nulls in objects: the loader gives each object all keys. Numbers of JSON Lines lose their last digit in it."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: pruned(inner) for key, inner in value.items() if inner is not None}
    return [pruned(inner) for inner in value] if isinstance(value, list) else value


def main() -> None:
    binary = sys.argv[1]
    import datasets

    datasets.disable_progress_bars()
    checked = 0
    with tempfile.TemporaryDirectory() as name:
        folder, server = Path(name), Server(binary)
        datasets.config.HF_DATASETS_CACHE = str(folder / "cache")
        try:
            for splits in (None, "train=0.7,test=0.3", "train=0.9999999,rest=0.0000001"):
                split = [] if splits is None else ["--split", splits]
                truth = folder / f"truth-{splits}"
                server.export(binary, truth, "--format", "jsonl", "--json-columns", "text", *split)
                names = [""] if splits is None else [part.split("=")[0] for part in splits.split(",")]
                wanted = {name or "train": expected(truth / name) for name in names}
                wanted = {name: rows for name, rows in wanted.items() if rows}
                for kind in FORMATS:
                    out = folder / f"{kind}-{splits}"
                    form, _, codec = kind.partition(".")
                    codec = {"gz": ["--compression", "gzip"], "zst": ["--compression", "zstd"]}.get(codec, [])
                    server.export(binary, out, "--format", form, *codec, *split, "--dataset-card")
                    found = datasets.load_dataset(str(out))
                    assert set(found) == set(wanted), (kind, splits, set(found))
                    for name, rows in wanted.items():
                        got = [{key: plain(key, value) for key, value in row.items()} for row in found[name]]
                        assert got == [{key: plain(key, value) for key, value in row.items()} for row in rows], name
                        print(f"{kind}, {name} of {splits}: {len(got)} rows")
                        checked += 1
        finally:
            server.process.terminate()
            server.process.wait()
    print(f"{checked} splits are equal")


if __name__ == "__main__":
    main()
