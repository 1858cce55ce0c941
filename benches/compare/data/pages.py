"""Generates the page files of a dataset in the format of the API, and expected.json for the checks.

usage: pages.py FOLDER DATASET BASE_URL ROWS PAGE_SIZE VERSION

VERSION is 1, 2 or 3. Version 2 is a later version of the same rows. In version 3, each node of the JSON values has one
type. Writes FOLDER/1.json, 2.json, … and then expected.json with the numbers of rows and bytes, and the digests. For
version 2, expected.json also has the numbers of added, removed and changed rows.
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
from rows import ROWS_PER_CHANGE, ROWS_PER_CHUNK, first_version, second_version, uniform_version


def encode_chunk(version, total, number):
    """Return the encoded rows of a chunk, their ids, the column sums, and the counts of changes in version 2."""
    wanted = min(ROWS_PER_CHUNK, total - number * ROWS_PER_CHUNK)
    if version == 2:
        rows, changes = second_version(number, wanted)
    else:
        version_of = uniform_version if version == 3 else first_version
        rows, changes = version_of(number)[:wanted], {}
    digest = Digest()
    for row in rows:
        digest.add(row)
    return [orjson.dumps(row) for row in rows], [row["id"] for row in rows], digest.sums, changes


def write_pages(folder, url, rows, count, page_size):
    """Write an iterator of encoded rows as pages. Return the total size in bytes."""
    last = -(-count // page_size)
    written = 0

    def link(page):
        if not 1 <= page <= last:
            return "null"
        # The API omits `page` in a link to page 1.
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
        sys.exit(f"pages.py: for version 2, ROWS must be a multiple of {ROWS_PER_CHANGE}")
    folder.mkdir(parents=True, exist_ok=True)
    sums = dict.fromkeys(COLUMNS, 0)
    ids_in_order = hashlib.blake2b(digest_size=16)
    changes = {}
    # Version 2 adds as many rows as it removes, so the total is the same.
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
