"""The readers' check: reads exports back with the libraries that people use to open them.

The embedded API serves JSON Lines files. The check exports each one in every format to a file, to a
directory of parts and to a pipe. It compares every value that a library reads with the served file.
Each comparison prints one line. The last line contains their number.

    python -B -W error .ci/readers.py BINARY [CORPUS.jsonl]...
"""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import lists
import nested
from expected import Columns, Different, Source, compare, hostile_lines
from libraries import PIPE_READERS, READERS, Export, Reader
from serving import Tally, serving

# Rows per part: small enough for several parts per corpus, and a multiple of the default page size.
ROWS_PER_FILE = 400
PAGE_SIZES = (7, 25, 100)
CONCURRENCIES = (1, 16)
# Time limit for a hanging export.
EXPORT_SECONDS = 300


@dataclass(frozen=True)
class Form:
    """A way to export: to a file, or to a directory if the target ends with a slash."""

    extension: str
    target: str
    compression: str | None = None
    # The form within the format: `plain` Parquet, or JSON Lines with `text` columns.
    variant: str | None = None
    # Whether CSV begins with a byte order mark.
    bom: bool = False

    @property
    def format(self) -> str:
        return self.extension.split(".")[0]

    @property
    def reads(self) -> str:
        """Returns the format of the readers that read this form."""
        return " ".join(filter(None, [self.format, self.variant]))

    @property
    def name(self) -> str:
        kind = "directory" if self.target.endswith("/") else "file"
        bom = self.bom and "with a byte order mark"
        words = [self.extension, self.variant, self.compression == "none" and "uncompressed", kind, bom]
        return " ".join(filter(None, words))

    @property
    def options(self) -> list[str]:
        options = ["--compression", self.compression] if self.compression else []
        variants = {"plain": ["--parquet-encoding", "plain"], "text": ["--json-columns", "text"]}
        variants["nested"] = ["--json-columns", "nested"]
        variants["rescued"] = ["--rescue"]
        options += variants.get(self.variant, [])
        options += ["--csv-bom"] if self.bom else []
        if self.target.endswith("/"):
            options += ["--format", self.format, "--rows-per-file", str(ROWS_PER_FILE)]
        return options


FORMS = [
    Form("parquet", "rows.parquet"),
    Form("parquet", "parts/"),
    Form("parquet", "plain.parquet", variant="plain"),
    Form("arrow", "rows.arrow"),
    Form("arrow", "uncompressed.arrow", "none"),
    Form("arrow", "parts/"),
    Form("jsonl", "rows.jsonl"),
    Form("jsonl", "parts/"),
    Form("jsonl", "text.jsonl", variant="text"),
    Form("jsonl.gz", "rows.jsonl.gz"),
    Form("jsonl.gz", "parts/", "gzip"),
    Form("jsonl.zst", "rows.jsonl.zst"),
    Form("jsonl.zst", "parts/", "zstd"),
    Form("csv", "rows.csv"),
    Form("csv", "bom.csv", bom=True),
    Form("csv", "parts/"),
    Form("csv.gz", "rows.csv.gz"),
    Form("csv.gz", "parts/", "gzip"),
    Form("csv.zst", "rows.csv.zst"),
    Form("csv.zst", "parts/", "zstd"),
]


NESTED_FORMS = [
    Form("parquet", "rows.parquet", variant="nested"),
    Form("parquet", "parts/", variant="nested"),
    Form("arrow", "rows.arrow", variant="nested"),
    Form("arrow", "parts/", "none", variant="nested"),
]


RESCUED_FORMS = [
    Form("parquet", "rows.parquet", variant="rescued"),
    Form("parquet", "parts/", variant="rescued"),
    Form("arrow", "rows.arrow", variant="rescued"),
    Form("arrow", "parts/", "none", variant="rescued"),
]


LIST_FORMS = [
    Form("parquet", "rows.parquet"),
    Form("parquet", "parts/"),
    Form("parquet", "plain.parquet", variant="plain"),
    Form("arrow", "rows.arrow"),
    Form("arrow", "parts/", "none"),
    Form("jsonl", "rows.jsonl"),
    Form("csv", "rows.csv"),
]


class Command:
    """The binary, and the address of the embedded API that serves the sources."""

    def __init__(self, binary: str, url: str, ids: dict[str, str]):
        self.binary = binary
        self.ids = ids
        self.environment = os.environ | {
            "OVERMIND_LAB_BASE_URL": url,
            "OVERMIND_LAB_API_KEY": "demo",
        }

    def arguments(self, source: Source, output: str, *options: str) -> list[str]:
        return [self.binary, "export", self.ids[source.name], "-o", output, "--quiet", *options]

    def export(self, source: Source, form: Form, folder: str, *options: str) -> Export:
        arguments = self.arguments(source, f"{folder}/{form.target}", *form.options, *options)
        done = subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, timeout=EXPORT_SECONDS
        )
        if done.returncode != 0:
            raise Different(f"the export ended with {done.returncode}: {done.stderr.strip()}")
        return Export(Path(folder, form.target), form.extension)

    def read_pipe(self, source: Source, reader: Reader) -> Columns:
        arguments = self.arguments(source, "-", "--format", reader.format)
        with subprocess.Popen(arguments, env=self.environment, stdout=subprocess.PIPE) as export:
            columns = reader.read(export.stdout)
        if export.returncode != 0:
            raise Different(f"the export ended with {export.returncode}")
        return columns


def check_form(tally: Tally, command: Command, source: Source, form: Form) -> None:
    """Checks one export with every library that reads its format."""
    with TemporaryDirectory() as folder:
        export = None
        with tally.comparison(f"{source.name}, {form.name}, number of files", source.rows):
            export = command.export(source, form, folder)
            parts = max(1, math.ceil(source.rows / ROWS_PER_FILE)) if export.path.is_dir() else 1
            if len(export.files) != parts:
                raise Different(f"{len(export.files)} instead of {parts}")
        if export is None:
            return
        for reader in READERS:
            if reader.format == form.reads and source.name not in reader.cannot:
                with tally.comparison(f"{source.name}, {form.name}, {reader.name}", source.rows):
                    compare(reader.read(export), source, reader.json_is_text)


def check_nested(tally: Tally, command: Command, source: Source) -> None:
    """Checks exports with nested columns with every library, and ways to address a value in them."""
    for form in NESTED_FORMS:
        with TemporaryDirectory() as folder:
            export = None
            with tally.comparison(f"{source.name}, {form.name}, types", source.rows):
                export = command.export(source, form, folder)
                kinds = nested.types(command.binary, export)
            if export is None:
                continue
            for name, read in nested.READERS[form.format].items():
                with tally.comparison(f"{source.name}, {form.name}, {name}", source.rows):
                    nested.compare(read(export), kinds, source)
            if source.name == "conversations" and form.format == "parquet":
                for name, read in nested.PATHS.items():
                    with tally.comparison(f"{source.name}, {form.name}, a path, {name}", source.rows):
                        if read(export) != nested.first_contents(source):
                            raise Different("the values differ")


def check_rescued(tally: Tally, command: Command, source: Source) -> None:
    """Checks exports with values that do not fit their types with every library."""
    for form in RESCUED_FORMS:
        with TemporaryDirectory() as folder:
            schema, export = Path(folder, "narrow.json"), None
            schema.write_text(json.dumps(nested.NARROW))
            with tally.comparison(f"{source.name}, {form.name}, types", source.rows):
                export = command.export(source, form, folder, "--schema", str(schema))
                kinds = nested.types(command.binary, export)
            if export is None:
                continue
            for name, read in nested.READERS[form.format].items():
                with tally.comparison(f"{source.name}, {form.name}, {name}", source.rows):
                    nested.compare_rescued(read(export), kinds, source)


def check_lists(tally: Tally, command: Command, source: Source) -> None:
    """Checks exports with columns of lists with every library."""
    for form in LIST_FORMS:
        with TemporaryDirectory() as folder:
            export = None
            with tally.comparison(f"{source.name}, lists, {form.name}", source.rows):
                export = command.export(source, form, folder, *lists.OPTIONS)
            if export is None:
                continue
            for name, read in lists.READERS[form.format].items():
                with tally.comparison(f"{source.name}, lists, {form.name}, {name}", source.rows):
                    lists.compare(read(export), source)


def check_pipes(tally: Tally, command: Command, source: Source) -> None:
    """Checks exports to standard output, read through a pipe."""
    for reader in PIPE_READERS:
        if source.name not in reader.cannot:
            what = f"{source.name}, {reader.format} through a pipe, {reader.name}"
            with tally.comparison(what, source.rows):
                compare(command.read_pipe(source, reader), source, reader.json_is_text)


def check_repeated(tally: Tally, command: Command, source: Source, form: Form, size: int) -> None:
    """Checks that concurrency does not change the bytes, and that the page size changes no value."""
    reader = next(reader for reader in READERS if reader.format == form.reads)
    with tally.comparison(
        f"{source.name}, {form.name}, pages of {size}, concurrency {CONCURRENCIES}", source.rows
    ):
        digests = set()
        for concurrency in CONCURRENCIES:
            paging = ("--page-size", str(size), "--concurrency", str(concurrency))
            with TemporaryDirectory() as folder:
                export = command.export(source, form, folder, *paging)
                if (digest := export.digest()) not in digests:
                    compare(reader.read(export), source, reader.json_is_text)
                    digests.add(digest)
        if len(digests) > 1:
            raise Different("concurrency changes the bytes, but not the values")


def main(binary: str, corpora: list[Path]) -> int:
    # Turn SIGTERM into an exception, so that the server is stopped and the folders are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tally = Tally()
    with TemporaryDirectory() as folder:
        hostile, empty = Path(folder, "hostile.jsonl"), Path(folder, "empty.jsonl")
        hostile.write_bytes("".join(f"{line}\n" for line in hostile_lines()).encode())
        conversations = Path(folder, "conversations.jsonl")
        conversations.write_text("".join(f"{line}\n" for line in nested.conversation_lines()))
        empty.touch()
        real = [Source(path) for path in corpora if path.exists()]
        sources = [Source(hostile), Source(empty), *real]
        with serving(binary, [*sources, Source(conversations)]) as (url, ids):
            command = Command(binary, url, ids)
            for source in sources:
                for form in FORMS:
                    check_form(tally, command, source, form)
                check_pipes(tally, command, source)
            for source in [*sources, Source(conversations)]:
                check_nested(tally, command, source)
            check_rescued(tally, command, Source(conversations))
            check_lists(tally, command, Source(conversations))
            for source in real:
                for form in FORMS:
                    for size in PAGE_SIZES if form.compression is None else ():
                        check_repeated(tally, command, source, form, size)
    for source in sources:
        for reader in READERS:
            if why := reader.cannot.get(source.name):
                print(f"not compared: {source.name}, {reader.format}, {reader.name}: {why}")
    for path in corpora:
        if not path.exists():
            print(f"READERS' CHECK SKIPPED: {path} does not exist; its rows were not compared")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], [Path(path) for path in sys.argv[2:]]))
