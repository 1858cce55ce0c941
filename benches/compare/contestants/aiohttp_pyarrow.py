"""aiohttp with 16 requests in flight, and pyarrow, as a careful Python developer would write it.

--decoder orjson parses each page into Python objects and serialises the JSON columns again.
--decoder msgspec keeps the received bytes of the JSON columns (msgspec.Raw), which is much less work.
--stream only adds up the rows.
"""

import asyncio
import json

import aiohttp
import pyarrow
import pyarrow.parquet

from common import COLUMNS, HEADERS, ZSTD_LEVEL, page_count, page_url, parse_arguments, save_for_check

IN_FLIGHT = 16
ROWS_PER_GROUP = 20_000
SCHEMA = pyarrow.schema([(name, pyarrow.int64() if name == "order" else pyarrow.string()) for name in COLUMNS])


def orjson_decoder():
    import orjson

    def text(value):
        return None if value is None else orjson.dumps(value).decode()

    def decode(body):
        page = orjson.loads(body)
        rows = page["results"]
        return page["count"], [
            [row["id"] for row in rows],
            [row["order"] for row in rows],
            [text(row["input"]) for row in rows],
            [text(row["expected_output"]) for row in rows],
            [row.get("persona") for row in rows],
            [text(row.get("tags")) for row in rows],
        ]

    return decode


def msgspec_decoder():
    import msgspec

    null = msgspec.Raw(b"null")

    class Row(msgspec.Struct, gc=False):
        id: str
        order: int | None = None
        input: msgspec.Raw = null
        expected_output: msgspec.Raw = null
        persona: str | None = None
        tags: msgspec.Raw = null

    class Page(msgspec.Struct, gc=False):
        count: int
        results: list[Row]

    decoder = msgspec.json.Decoder(Page)

    def text(value):
        value = bytes(value)
        return None if value == b"null" else str(value, "utf-8")

    def decode(body):
        page = decoder.decode(body)
        rows = page.results
        return page.count, [
            [row.id for row in rows],
            [row.order for row in rows],
            [text(row.input) for row in rows],
            [text(row.expected_output) for row in rows],
            [row.persona for row in rows],
            [text(row.tags) for row in rows],
        ]

    return decode


class Groups:
    """Collects rows and passes them to `write` as Arrow tables of at least ROWS_PER_GROUP rows."""

    def __init__(self, write):
        self.write = write
        self.columns = [[] for _ in SCHEMA]

    def add(self, columns):
        for mine, theirs in zip(self.columns, columns):
            mine += theirs
        if len(self.columns[0]) >= ROWS_PER_GROUP:
            self.flush()

    def flush(self):
        if self.columns[0]:
            arrays = [pyarrow.array(values, field.type) for values, field in zip(self.columns, SCHEMA)]
            self.write(pyarrow.table(arrays, schema=SCHEMA))
            self.columns = [[] for _ in SCHEMA]


async def fetch_all(arguments, decode, groups):
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as session:

        async def fetch(page):
            async with session.get(page_url(arguments, page)) as response:
                response.raise_for_status()
                return decode(await response.read())

        rows, columns = await fetch(1)
        groups.add(columns)
        last_page = page_count(arguments, rows)
        next_page = 2
        window = []  # the requests in flight, in page order
        while next_page <= last_page or window:
            while next_page <= last_page and len(window) < IN_FLIGHT:
                window.append(asyncio.create_task(fetch(next_page)))
                next_page += 1
            _, columns = await window.pop(0)
            groups.add(columns)
    groups.flush()


def main():
    arguments = parse_arguments(("--decoder", {"choices": ["orjson", "msgspec"], "required": True}), ("--stream", {"action": "store_true"}))
    decode = orjson_decoder() if arguments.decoder == "orjson" else msgspec_decoder()
    if arguments.stream:
        counts = []
        asyncio.run(fetch_all(arguments, decode, Groups(lambda table: counts.append(table.num_rows))))
        print(json.dumps({"rows": sum(counts)}))
        return
    if arguments.frame:
        tables = []
        asyncio.run(fetch_all(arguments, decode, Groups(tables.append)))
        table = pyarrow.concat_tables(tables)
        if arguments.frame == "pandas":
            frame = table.to_pandas()
        elif arguments.frame == "pyarrow":
            frame = table
        else:
            import polars

            frame = polars.from_arrow(table)
        save_for_check(frame, arguments)
        return
    settings = {"compression": "zstd", "compression_level": ZSTD_LEVEL}
    with pyarrow.parquet.ParquetWriter(arguments.out, SCHEMA, **settings) as writer:
        asyncio.run(fetch_all(arguments, decode, Groups(writer.write_table)))


main()
