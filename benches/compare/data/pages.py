"""Writes a dataset as page files, the way the API answers, and beside them what an export must hold.

usage: pages.py FOLDER DATASET BASE_URL ROWS PAGE_SIZE VERSION

VERSION is 1 or 2; 2 is a later version of the same rows. FOLDER gets 1.json, 2.json, … and last
expected.json: rows, digests, bytes, and for version 2 how many rows were added, removed and changed.
"""

import hashlib
import itertools
import json
import multiprocessing
import sys
from functools import partial
from pathlib import Path

import orjson

from digest import COLUMNS, Digest, merge
from rows import ROWS_PER_CHANGE, ROWS_PER_CHUNK, first_version, second_version


def encode_chunk(version, total, number):
    """The encoded rows of one chunk with their ids, their column sums, and what changed in version 2."""
    wanted = min(ROWS_PER_CHUNK, total - number * ROWS_PER_CHUNK)
    if version == 2:
        rows, changes = second_version(number, wanted)
    else:
        rows, changes = first_version(number)[:wanted], {}
    digest = Digest()
    for row in rows:
        digest.add(row)
    return [orjson.dumps(row) for row in rows], [row["id"] for row in rows], digest.sums, changes


def write_pages(folder, url, rows, count, page_size):
    """Write the rows, an iterable of encoded rows, as pages; return their size in bytes."""
    last = -(-count // page_size)
    written = 0

    def link(page):
        if not 1 <= page <= last:
            return "null"
        # The API names no page in a link to the first one.
        return f'"{url}?{f"page={page}&" if page > 1 else ""}page_size={page_size}"'

    for page in range(1, last + 1):
        results = b",".join(itertools.islice(rows, page_size))
        head = f'{{"count":{count},"next":{link(page + 1)},"previous":{link(page - 1)},"results":['
        written += (folder / f"{page}.json").write_bytes(head.encode() + results + b"]}")
    return written


def main():
    folder, dataset, base_url = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    total, page_size, version = map(int, sys.argv[4:])
    if version == 2 and total % ROWS_PER_CHANGE:
        sys.exit(f"pages.py: the number of rows must be a multiple of {ROWS_PER_CHANGE} for a second version")
    folder.mkdir(parents=True, exist_ok=True)
    sums = dict.fromkeys(COLUMNS, 0)
    ids_in_order = hashlib.blake2b(digest_size=16)
    changes = {}
    # In version 2 as many rows are added as are removed, so the total stays.
    chunks = range(-(-total // ROWS_PER_CHUNK))

    with multiprocessing.Pool() as pool:

        def rows():
            for encoded, ids, chunk_sums, chunk_changes in pool.imap(partial(encode_chunk, version, total), chunks):
                merge(sums, chunk_sums)
                ids_in_order.update("".join(ids).encode())
                for kind, number in chunk_changes.items():
                    changes[kind] = changes.get(kind, 0) + number
                yield from encoded

        url = f"{base_url}/api/datasets/{dataset}/datapoints/"
        written = write_pages(folder, url, rows(), total, page_size)
    expected = {
        "rows": total,
        "columns": {column: f"{value:032x}" for column, value in sums.items()},
        "ids_in_order": ids_in_order.hexdigest(),
        "bytes": written,
        "changes": changes,
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    main()
