"""What several checks share: the embedded API that serves files, and the count of comparisons."""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from expected import Source

# Time limit for a hanging server.
START_SECONDS = 60


@contextmanager
def serving(binary: str, sources: list[Source]) -> Iterator[tuple[str, dict[str, str]]]:
    """Serves the sources until the block ends. Gives the base URL and the id of each dataset."""
    arguments = [binary, "demo", "--serve", "--port", "0"]
    arguments += [part for source in sources for part in ("--from", str(source.path))]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
        overdue = threading.Timer(START_SECONDS, server.kill)
        overdue.start()
        try:
            announcement = announced(server.stdout, {source.name for source in sources})
            overdue.cancel()
            yield announcement
        finally:
            overdue.cancel()
            server.terminate()


def announced(lines: Iterator[str], names: set[str]) -> tuple[str, dict[str, str]]:
    """Returns the base URL and the id of each dataset, from the output of the starting server."""
    url, ids = None, {}
    for line in lines:
        if address := re.match(r"serving (http://\S+)", line):
            url = address[1]
        elif row := re.match(r"\s+([0-9a-f-]{36})\s+[\d,]+ rows?\s+(\S+)", line):
            ids[row[2]] = row[1]
        if url and names <= ids.keys():
            return url, ids
    raise SystemExit(f"the server did not start: it printed {url} with {ids}")


class Tally:
    """Counts the comparisons and prints one line for each."""

    def __init__(self):
        self.passed = self.failed = 0

    @contextmanager
    def comparison(self, what: str, rows: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failed += 1
            print(f"FAIL  {what}: {type(error).__name__}: {error}", flush=True)
        else:
            self.passed += 1
            print(f"ok    {what}: {rows:,} rows", flush=True)
