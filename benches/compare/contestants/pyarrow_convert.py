"""pyarrow copies a file to a Parquet file. It takes the types of JSON Lines from the first block.

usage: pyarrow_convert.py IN OUT
"""

import sys

import pyarrow.json
import pyarrow.parquet

from common import ZSTD_LEVEL

source, out = sys.argv[1:]
if source.endswith(".jsonl"):
    table = pyarrow.json.read_json(source)
    pyarrow.parquet.write_table(table, out, compression="zstd", compression_level=ZSTD_LEVEL)
else:
    file = pyarrow.parquet.ParquetFile(source)
    with pyarrow.parquet.ParquetWriter(out, file.schema_arrow, compression="zstd", compression_level=ZSTD_LEVEL) as writer:
        for batch in file.iter_batches():
            writer.write_batch(batch)
