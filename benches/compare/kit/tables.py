"""The tables that the kit can print, each with its number of rows, server and page size."""

from dataclasses import dataclass, replace

from . import places, servers


@dataclass(frozen=True)
class Dataset:
    """The page files of one dataset. With `far`, their links point to the server with latency."""

    rows: int
    page_size: int
    far: bool = False
    version: int = 1

    @property
    def id(self):
        return f"00000000-0000-4000-800{self.version - 1}-{self.rows:012d}"

    @property
    def base_url(self):
        return servers.FAR_URL if self.far else servers.NEAR_URL

    @property
    def folder(self):
        return places.PAGES / ("far" if self.far else "near") / self.id / str(self.page_size)

    @property
    def expected(self):
        """The file with the expected counts and digests. pages.py writes it last, so it marks complete page files."""
        return self.folder / "expected.json"


@dataclass(frozen=True)
class Table:
    name: str
    title: str
    kind: str  # selects the contestants, by a key of CONTESTANTS_BY_KIND
    dataset: Dataset
    default: bool = True
    leave_out: tuple[str, ...] = ()  # name prefixes of contestants to skip, because they would take many minutes

    @property
    def datasets(self):
        if self.kind == "diff":
            return [self.dataset, replace(self.dataset, version=2)]
        return [self.dataset]

    def with_rows(self, rows):
        return replace(self, dataset=replace(self.dataset, rows=rows))

    @property
    def description(self):
        size = f"{self.dataset.rows:,} rows, {self.dataset.page_size} a page"
        return f"{self.title}: {size}{', 50 ms round trip' if self.dataset.far else ''}"


ONE_PAGE_AT_A_TIME = ("vendor client", "requests", "dlt")
EXPORT = "URL to a Parquet file"
# The kinds whose contestants read through the Python package, with their environments.
IN_PYTHON = {"pandas": "frames", "polars": "frames", "pyarrow": "frames", "stream": "frames", "spark": "spark"}

TABLES = [
    Table("near100", EXPORT, "export", Dataset(100_000, 100)),
    Table("near25", EXPORT, "export", Dataset(100_000, 25)),
    Table("far25", EXPORT, "export", Dataset(2_500, 25, far=True)),
    Table("million", EXPORT, "export", Dataset(1_000_000, 100), leave_out=ONE_PAGE_AT_A_TIME),
    Table("pandas", "URL to a pandas DataFrame in memory", "pandas", Dataset(100_000, 100)),
    Table("polars", "URL to a Polars DataFrame in memory", "polars", Dataset(100_000, 100)),
    Table("pyarrow", "URL to a pyarrow table in memory", "pyarrow", Dataset(100_000, 100)),
    Table("stream", "URL to a loop over batches", "stream", Dataset(1_000_000, 100)),
    Table("transform", "URL to a Parquet file, with and without a transformation", "transform", Dataset(100_000, 100)),
    Table("convert", "Parquet file to Parquet file", "convert", Dataset(100_000, 100)),
    Table("nested", "JSON Lines file to a Parquet file with structs and lists", "nested", Dataset(100_000, 100)),
    Table("uniform", "The same, each node of the values with one type", "nested", Dataset(100_000, 100, version=3)),
    Table("diff", "Compare two exports", "diff", Dataset(1_000_000, 100)),
    Table("verify", "Read a Parquet file and check it", "verify", Dataset(1_000_000, 100)),
    Table("report", "Look at a Parquet file", "report", Dataset(1_000_000, 100)),
    Table("workers", "URL to a directory of Parquet files, by several processes", "workers", Dataset(1_000_000, 100)),
    Table("spark", "URL to a query of Spark", "spark", Dataset(1_000_000, 100), default=False),
    Table("farspark", "URL to a query of Spark", "spark", Dataset(25_000, 25, far=True), default=False),
    Table(
        "far25big", EXPORT, "export", Dataset(100_000, 25, far=True), default=False,
        leave_out=(*ONE_PAGE_AT_A_TIME, "DuckDB reading the URLs"),
    ),
]
