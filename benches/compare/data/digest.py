"""A digest of rows that does not depend on their order or on how their JSON is written."""

import hashlib

import orjson

COLUMNS = ["id", "order", "input", "expected_output", "persona", "tags"]
JSON_COLUMNS = ["input", "expected_output", "tags"]
_MODULUS = 1 << 128


def _hash(data):
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little")


class Digest:
    """Sums the hashes of values, one sum for each column, each value hashed together with its row's id."""

    def __init__(self):
        self.rows = 0
        self.sums = dict.fromkeys(COLUMNS, 0)
        self.ids_in_order = hashlib.blake2b(digest_size=16)

    def add(self, row):
        """Count a row: its id, and the values of the other columns as Python objects."""
        key = row["id"].encode()
        self.rows += 1
        self.ids_in_order.update(key)
        self.sums["id"] += _hash(key)
        for column in COLUMNS[1:]:
            # A missing field is null. Sorted keys and orjson's way to write numbers make the text canonical.
            value = orjson.dumps(row.get(column), option=orjson.OPT_SORT_KEYS)
            self.sums[column] += _hash(key + value)

    def result(self):
        return {
            "rows": self.rows,
            "columns": {column: f"{total % _MODULUS:032x}" for column, total in self.sums.items()},
            "ids_in_order": self.ids_in_order.hexdigest(),
        }


def merge(sums, more):
    """Add the column sums of another part of the same dataset."""
    for column, total in more.items():
        sums[column] = (sums[column] + total) % _MODULUS
