"""Starts Spark, and times a query that takes every value of the rows of a data source.

The clock starts when the first row has come. So it does not include the start of Spark and of its Python processes, which
takes many seconds and is the same for all.
"""

import json
import os
import sys
import time

from common import COLUMNS

# The tasks of 1,000,000 rows: 100.
PAGES_PER_PARTITION = 100
TYPES = {"order": "long"}


def run(source, arguments):
    from pyspark.sql import SparkSession, functions

    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    spark = SparkSession.builder.master(f"local[{os.cpu_count()}]").config(map=settings).getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    spark.dataSource.register(source)
    schema = ", ".join(f"{name} {TYPES.get(name, 'string')}" for name in COLUMNS)
    options = {
        "base_url": arguments.base_url, "page_size": arguments.page_size, "pages_per_partition": PAGES_PER_PARTITION,
    }
    frame = spark.read.format(source.name()).options(**options).schema(schema).load(arguments.dataset)
    frame.limit(1).collect()
    started = time.perf_counter()
    sums = [functions.sum(functions.octet_length(functions.col(name).cast("string"))) for name in COLUMNS]
    rows = frame.agg(functions.count("*"), *sums).first()[0]
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - started}))
    spark.stop()
