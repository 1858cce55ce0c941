"""A data source for Spark with requests: each task reads a range of pages, one after the other."""

import spark_query
from common import parse_arguments
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition


class PagesDataSource(DataSource):
    @classmethod
    def name(cls):
        return "pages"

    def reader(self, schema):
        return PagesReader(self.options, schema.fieldNames())


class PagesReader(DataSourceReader):
    def __init__(self, options, columns):
        self.url = f"{options['base_url']}/api/datasets/{options['path']}/datapoints/"
        self.page_size, self.step = int(options["page_size"]), int(options["pages_per_partition"])
        self.columns = columns

    def session(self):
        import os

        import requests

        session = requests.Session()
        session.headers["X-API-Key"] = os.environ["OVERMIND_LAB_API_KEY"]
        return session

    def page(self, session, number):
        response = session.get(self.url, params={"page": number, "page_size": self.page_size}, timeout=60)
        response.raise_for_status()
        return response.json()

    def partitions(self):
        pages = -(-self.page(self.session(), 1)["count"] // self.page_size)
        return [InputPartition(range(first, min(first + self.step, pages + 1))) for first in range(1, pages + 1, self.step)]

    def read(self, partition):
        import json

        session = self.session()
        for number in partition.value:
            for row in self.page(session, number)["results"]:
                values = (row.get(name) for name in self.columns)
                yield tuple(it if it is None or isinstance(it, (str, int)) else json.dumps(it) for it in values)


spark_query.run(PagesDataSource, parse_arguments())
