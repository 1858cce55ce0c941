"""A digest of rows that ignores the row order and the spelling of JSON: whitespace, key order, escapes."""

import hashlib

import orjson

COLUMNS = ["id", "order", "input", "expected_output", "persona", "tags"]
JSON_COLUMNS = ["input", "expected_output", "tags"]
_MODULUS = 1 << 128


def _hash(data):
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little")


class Digest:
    """Sums the hashes of the values of each column. Each hash covers a value and the id of its row."""

    def __init__(self):
        self.rows = 0
        self.sums = dict.fromkeys(COLUMNS, 0)
        self.ids_in_order = hashlib.blake2b(digest_size=16)

    def add(self, row):
        """Add a row: a dict with the id as text and the other values as Python objects."""
        key = row["id"].encode()
        self.rows += 1
        self.ids_in_order.update(key)
        self.sums["id"] += _hash(key)
        for column in COLUMNS[1:]:
            # A missing field counts as null. Sorted keys and the number format of orjson make the text canonical.
            value = orjson.dumps(row.get(column), option=orjson.OPT_SORT_KEYS)
            self.sums[column] += _hash(key + value)

    def result(self):
        return {
            "rows": self.rows,
            "columns": {column: f"{total % _MODULUS:032x}" for column, total in self.sums.items()},
            "ids_in_order": self.ids_in_order.hexdigest(),
        }


def merge(sums, more):
    """Add the column sums of another chunk of the same dataset to `sums`."""
    for column, total in more.items():
        sums[column] = (sums[column] + total) % _MODULUS
