"""The data source for Spark of the Python package of overmind-export."""

import spark_query
from common import parse_arguments
from overmind_export.spark import OvermindDataSource

spark_query.run(OvermindDataSource, parse_arguments())
