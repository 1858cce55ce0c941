"""Computes the expected content of an export from the text of a JSON Lines file alone.

This module scans the text and cuts tokens out of it. It never runs the command, and it keeps the
text of each value. It also contains the comparison, and rows that are hard to preserve unchanged.
"""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

COLUMNS = ["id", "order", "input", "expected_output", "persona", "tags", "additional_properties"]
JSON_COLUMNS = {"input", "expected_output", "tags", "additional_properties"}

Columns = dict[str, list]


class Different(Exception):
    """The values that a library read differ from the served values."""


class Source:
    """A served file as columns. JSON columns are kept as compact text and as parsed values."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.stem
        # Do not use splitlines: it also splits at characters that JSON allows inside a string.
        rows = [expected_row(line) for line in path.read_bytes().decode().split("\n") if line]
        self.rows = len(rows)
        self.columns = {name: [row[name] for row in rows] for name in COLUMNS}
        self.values = {name: canonical(parsed(self.columns)[name]) for name in JSON_COLUMNS}


def expected_row(line: str) -> dict:
    """Returns the columns of a row. JSON text keeps its tokens. Unknown fields form one object."""
    row, unknown = dict.fromkeys(COLUMNS), []
    for key, text in members(without_white_space(line)):
        if key not in COLUMNS[:-1]:
            unknown.append(f"{json.dumps(key)}:{text}")
        elif key not in JSON_COLUMNS:
            row[key] = json.loads(text)
        elif text != "null":
            row[key] = text
    if unknown:
        row["additional_properties"] = "{" + ",".join(unknown) + "}"
    return row


def without_white_space(text: str) -> str:
    """Returns JSON text without the white space outside its strings."""
    return re.sub(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\r\n]+', r"\1", text)


def members(text: str) -> Iterator[tuple[str, str]]:
    """Returns the keys of a compact JSON object, each with the text of its value."""
    decode = json.JSONDecoder().raw_decode
    at = 1
    while text[at] != "}":
        key, colon = decode(text, at)
        _, end = decode(text, colon + 1)
        yield key, text[colon + 1 : end]
        at = end + (text[end] == ",")


def parsed(columns: Columns) -> Columns:
    """Returns the same columns with JSON text replaced by parsed values."""
    value = lambda text: None if text is None else json.loads(text)
    return {
        name: [value(text) for text in cells] if name in JSON_COLUMNS else cells
        for name, cells in columns.items()
    }


def canonical(values: list) -> list[str]:
    """Returns values as text. The text differs if a value, a type or the order of keys differs."""
    return [json.dumps(value) for value in values]


def compare(read: Columns, source: Source, json_is_text: bool) -> None:
    """Raises `Different` at the first value that differs from the source."""
    if list(read) != COLUMNS:
        raise Different(f"columns are {list(read)}")
    if json_is_text:
        for name in COLUMNS:
            same(name, read[name], source.columns[name])
        read = parsed(read)
    for name in COLUMNS:
        if name in JSON_COLUMNS:
            same(f"{name}, parsed", canonical(read[name]), source.values[name])
        else:
            same(name, read[name], source.columns[name])


def same(name: str, read: list, wanted: list) -> None:
    if len(read) != len(wanted):
        raise Different(f"{name} has {len(read):,} rows, not {len(wanted):,}")
    for index, (have, want) in enumerate(zip(read, wanted)):
        if have != want or type(have) is not type(want):
            have, want = (repr(value)[:200] for value in (have, want))
            raise Different(f"{name}, row {index}: {have} instead of {want}")


def hostile_lines() -> Iterator[str]:
    """Returns valid datapoints whose JSON is hard to preserve unchanged."""
    values = [
        "{}", "[]", '""', "0", "true", "false", "null", "-0", "-1.50E+3", "1e400",
        "123456789012345678901234567890", "0.1000000000000000000000000001",
        '{"a":1,"a":{"b":2,"b":3}}', '{"":null,"b":0,"a":0}', "[" * 100 + "]" * 100,
        r'"\ud800"', r'["\udc00\ud800","\u0000"]', r'"\" \\ \/ \u00e9 é \uD83D\uDE00"',
        ' { "a b" : [ 1 ,\t2 ]\r, " " : "\\" , " } ', '"\U0001f600\u2028\u0085\x7f"',
        '"' + "long " * 200_000 + '"',
    ]  # fmt: skip
    personas = [
        '""', '" "', '"null"', r'"\u0000"', r'"\"\\\/\n\ud83d\ude00"', '"\u2028\x7f"',
        '"' + "\U0001f600" * 128 + '"',
    ]  # fmt: skip
    rows = [
        f'"order":{at},"input":{value},"expected_output":{values[at - 1]},"tags":{values[at - 2]}'
        for at, value in enumerate(values)
    ]
    rows += [f'"order":9223372036854775807,"persona":{persona}' for persona in personas]
    rows += [
        '"order":null,"input":null,"expected_output":null,"persona":null,"tags":null',
        '"tags" : [ ] ,\t"extra" : { "a" : 1e400 , "a" : [ ] } , "input" : 1 , "note" : null',
        r'"additional_properties":{"nested":"\ud800"},"source_trace_id":"é"',
    ]
    for row in rows:
        yield f'\t{{ "id"\r: "{uuid.uuid5(uuid.NAMESPACE_OID, row)}" , {row} }} '
    yield f'{{"id":"{uuid.uuid5(uuid.NAMESPACE_OID, "alone")}"}}'
