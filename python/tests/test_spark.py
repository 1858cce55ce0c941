"""The data source and the export of Spark, on a cluster with two executors in processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import overmind_export as oe
import pytest

from engines import block, changed, files, following
from faulty import DATASET, repeating, row, serving

pytestmark = [pytest.mark.long, pytest.mark.consumer("pyspark", "pyarrow")]

ROWS = 20_000
#: Pages of 100 rows in four partitions. A partition is more than one batch.
PAGES = 50
API = {"api_key": "demo"}


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    import pyspark
    from overmind_export.spark import OvermindDataSource
    from pyspark.sql import SparkSession

    environment = {
        # Also that of the executors.
        "OVERMIND_LAB_API_KEY": "demo",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.shuffle.partitions": "2",
        }
        session = SparkSession.builder.master("local-cluster[2,1,1024]").config(map=settings).getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        session.dataSource.register(OvermindDataSource)
        yield session
        session.stop()
    # The executors write their logs into the installed package.
    shutil.rmtree(Path(pyspark.__file__).parent / "work", ignore_errors=True)


def read(spark: Any, url: str, schema: str | None = "id string, input string", **options: object) -> Any:
    reader = spark.read.format("overmind").option("base_url", url).option("pages_per_partition", PAGES)
    for name, value in options.items():
        reader = reader.option(name, value)
    return (reader.schema(schema) if schema else reader).load(DATASET)


def executors() -> list[int]:
    """The processes of the executors that belong to this test."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            ours = f"SPARK_TEST_OF={os.getpid()}".encode()
            if b"CoarseGrainedExecutorBackend" in line and ours in environment:
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module", autouse=True)
def _marked_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_TEST_OF", str(os.getpid()))
        yield


class Seen:
    """Counts the requests for each page."""

    def __init__(self, answer: Callable[[int, int], tuple[int, object]] | None = None) -> None:
        self.pages: Counter[int] = Counter()
        self._answer = answer
        self._lock = threading.Lock()

    def __call__(self, page: int, size: int, results: list[dict[str, object]]) -> tuple[int, object]:
        with self._lock:
            self.pages[page] += 1
            attempt = self.pages[page]
        return self._answer(page, attempt) if self._answer else (200, None)


def expected(rows: int) -> list[str]:
    return [str(row(number)["id"]) for number in range(rows)]


def test_rows_equal_those_of_one_machine(spark: Any, demo: oe.Demo, tmp_path: Path) -> None:
    import pyarrow.parquet

    oe.export(demo.dataset, tmp_path / "rows.parquet", base_url=demo.url, **API)
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    reader = spark.read.format("overmind").options(base_url=demo.url, pages_per_partition=7)
    df = reader.load(demo.dataset)
    assert df.rdd.getNumPartitions() == 8
    # Row for row, in the order of the API.
    assert df.toArrow().to_pylist() == table.to_pylist()
    assert len(executors()) == 2
    alone = spark.read.parquet(str(tmp_path / "rows.parquet"))
    assert df.exceptAll(alone).count() == alone.exceptAll(df).count() == 0
    assert all(field.nullable for field in df.schema.fields)


def test_schema_chooses_the_columns(spark: Any, demo: oe.Demo) -> None:
    def load(schema: str) -> Any:
        return spark.read.format("overmind").option("base_url", demo.url).schema(schema).load(demo.dataset)

    df = load("order long, id string")
    assert [(it["order"], len(it["id"])) for it in df.take(2)] == [(0, 36), (1, 36)]
    assert df.count() == 5000
    for schema, message in {
        "inputs string": "there is no column 'inputs'",
        "order string": "the column 'order' is declared as string: declare it as bigint",
        "id string NOT NULL": "the column 'id' is declared as NOT NULL",
    }.items():
        with pytest.raises(Exception, match=message):
            load(schema).collect()


def test_limit_reads_one_partition(spark: Any) -> None:
    seen = Seen()
    with serving(ROWS, seen) as url:
        df = read(spark, url)
        assert [it["id"] for it in df.limit(5).collect()] == expected(5)
    # Page 1 is for the plan, too.
    assert max(seen.pages) <= PAGES and seen.pages[1] >= 2


def test_each_action_reads_again(spark: Any) -> None:
    seen = Seen()
    with serving(1000, seen) as url:
        df = read(spark, url)
        assert df.count() == df.count() == 1000
    assert seen.pages[5] == 2


def test_task_that_fails_once_is_repeated(spark: Any) -> None:
    # After the first batch of the partition.
    failing = 2 * PAGES - 2
    seen = Seen(lambda page, attempt: (500, {}) if page == failing and attempt == 1 else (200, None))
    with serving(ROWS, seen) as url:
        df = read(spark, url, max_retries=0)
        assert [it["id"] for it in df.collect()] == expected(ROWS)
    assert seen.pages[failing] == 2


class Killer:
    """Lets a page of each task wait until both executors are in the middle of one, and kills one of them."""

    def __init__(self, pages: int) -> None:
        self.victims: list[int] = []
        self._pages = pages
        self._reached, self._killed = threading.Semaphore(0), threading.Event()
        self._thread = threading.Thread(target=self._kill)

    def __call__(self, page: int, attempt: int) -> tuple[int, object]:
        if page % self._pages == self._pages // 2 and attempt == 1:
            self._reached.release()
            self._killed.wait(120)
        return 200, None

    def _kill(self) -> None:
        if self._reached.acquire(timeout=120) and self._reached.acquire(timeout=120):
            self.victims.append(executors()[0])
            os.kill(self.victims[0], signal.SIGKILL)
        self._killed.set()

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._killed.set()
        self._thread.join()


def test_killed_executor_changes_nothing(spark: Any) -> None:
    with Killer(PAGES) as killer:
        seen = Seen(killer)
        with serving(ROWS, seen) as url:
            found = [it["id"] for it in read(spark, url).collect()]
    assert found == expected(ROWS)
    assert killer.victims and killer.victims[0] not in executors()
    # The partition of the killed executor was read again.
    assert max(seen.pages[page] for page in range(2, 4 * PAGES + 1)) == 2


def test_executor_killed_in_an_export_changes_nothing(spark: Any, tmp_path: Path) -> None:
    with Killer(25) as killer:
        seen = Seen(killer)
        with serving(10_000, seen) as url:
            options = {"rows_per_file": 2500, "base_url": url}
            summary = oe.spark.export(spark, DATASET, f"{tmp_path}/many/", 4, **options)
            assert killer.victims and killer.victims[0] not in executors()
            oe.export(DATASET, f"{tmp_path}/alone/", **options, **API)
    assert (summary.rows, summary.completeness) == (10_000, "proven")
    assert files(tmp_path / "many") == files(tmp_path / "alone")


@pytest.mark.parametrize("when", ["after the plan", "within a partition"])
def test_changed_dataset_fails_the_query(spark: Any, when: str) -> None:
    def answer(page: int, size: int, results: list[dict[str, object]]) -> tuple[int, object]:
        has_changed = page > PAGES if when == "after the plan" else page > PAGES + 3
        count = ROWS + has_changed
        more = f"http://x/?page={page + 1}" if page < count / size else None
        return 200, {"count": count, "next": more, "previous": None, "results": results}

    message = "the plan has 20,000 rows, and page .* says 20,001|count changed from 20,000 to 20,001"
    with serving(ROWS + 1, answer) as url, pytest.raises(Exception, match=message):
        read(spark, url).collect()


@pytest.mark.parametrize("name", ["api_key", "token", "key"])
def test_keys_are_refused(spark: Any, name: str) -> None:
    message = f"the option '{name}' may hold a credential"
    with pytest.raises(Exception, match=message) as raised:
        read(spark, "http://127.0.0.1:9", schema=None, **{name: "ovr_canary"})
    assert "canary" not in str(raised.value)
    # With a schema, Spark makes the data source later.
    with pytest.raises(Exception, match=message) as raised:
        read(spark, "http://127.0.0.1:9", **{name: "ovr_canary"}).collect()
    assert "canary" not in str(raised.value)


def test_wrong_options_are_refused(spark: Any) -> None:
    with pytest.raises(Exception, match="did you mean 'page_size'"):
        read(spark, "http://127.0.0.1:9", pagesize=5).collect()
    with pytest.raises(Exception, match="no dataset is given"):
        spark.read.format("overmind").load().collect()


def test_prove_counts_the_ids_of_all_partitions(spark: Any, tmp_path: Path) -> None:
    with serving(ROWS, Seen()) as url:
        read(spark, url).write.parquet(str(tmp_path / "lake"))
    stored = spark.read.parquet(str(tmp_path / "lake"))
    assert oe.spark.prove(stored) == oe.spark.prove(stored, ROWS) == ROWS
    with pytest.raises(oe.IncompleteError, match="20,000 rows, and 20,001 expected"):
        oe.spark.prove(stored, ROWS + 1)
    with pytest.raises(oe.UsageError, match="no column 'id'"):
        oe.spark.prove(stored.drop("id"))
    # A row came in two partitions, and each of them is sound.
    with serving(1000, repeating) as url:
        df = read(spark, url, pages_per_partition=2).persist()
        assert df.count() == 1000
        with pytest.raises(oe.IncompleteError, match="1,000 rows with 999 distinct ids"):
            oe.spark.prove(df)
        df.unpersist()


def test_export_writes_the_files_of_one_machine(spark: Any, demo: oe.Demo, tmp_path: Path) -> None:
    options = {"rows_per_file": 500, "base_url": demo.url}
    summary = oe.spark.export(spark, demo.dataset, f"{tmp_path}/many/", 4, **options)
    alone = oe.export(demo.dataset, f"{tmp_path}/alone/", **options, **API)
    assert (summary.digest, summary.completeness, summary.files) == (alone.digest, "proven", 10)
    assert files(tmp_path / "many") == files(tmp_path / "alone")


def test_export_repeats_a_task_that_failed(spark: Any, tmp_path: Path) -> None:
    seen = Seen(lambda page, attempt: (500, {}) if page == 7 and attempt == 1 else (200, None))
    with serving(1000, seen) as url:
        summary = oe.spark.export(
            spark, DATASET, f"{tmp_path}/out/", 5, rows_per_file=200, max_retries=0, base_url=url
        )
    assert (summary.rows, summary.completeness) == (1000, "proven")
    assert seen.pages[7] == 2


def test_export_raises_the_error_and_continues(spark: Any, tmp_path: Path) -> None:
    failing = True

    def answer(page: int, attempt: int) -> tuple[int, object]:
        return (403, {"detail": "no"}) if failing and page == 9 else (200, None)

    seen = Seen(answer)
    with serving(1000, seen) as url:
        options = {"rows_per_file": 200, "base_url": url}
        with pytest.raises(oe.AuthenticationError):
            oe.spark.export(spark, DATASET, f"{tmp_path}/out/", 5, **options)
        failing = False
        assert oe.spark.export(spark, DATASET, f"{tmp_path}/out/", 5, **options).completeness == "proven"
    # A finished range is not read again.
    assert seen.pages[3] == 1


def test_export_refuses_what_tasks_would_carry(spark: Any, tmp_path: Path) -> None:
    with pytest.raises(oe.UsageError, match="'api_key' may hold a credential"):
        oe.spark.export(spark, DATASET, f"{tmp_path}/out/", api_key="ovr_canary")
    secret = {"aws_secret_access_key": "canary"}
    with pytest.raises(oe.UsageError, match="the storage option 'aws_secret_access_key'") as raised:
        oe.spark.export(spark, DATASET, "s3a://lake/eval/", storage_options=secret)
    assert "canary" not in str(raised.value)


def test_scheme_of_hadoop_is_that_of_s3() -> None:
    from overmind_export.spark import _store_url

    assert _store_url("s3a://lake/eval/") == "s3://lake/eval/"
    assert [_store_url(it) for it in ("s3://lake/", "out/", Path("out"))] == ["s3://lake/", "out/", Path("out")]


def test_examples_of_the_guide_run(spark: Any, demo: oe.Demo, tmp_path: Path) -> None:
    # The processes of Spark have the environment of its start.
    code = changed(block("Spark"), '.format("overmind")', f'.format("overmind").option("base_url", "{demo.url}")')
    code = changed(code, '"s3://lake/eval/"', f'"{tmp_path}/out/", base_url="{demo.url}"')
    code = changed(code, "s3a://lake/eval/", f"{tmp_path}/out/")
    names = {"spark": spark, "ID": demo.dataset, "oe": oe}
    exec(code, names)
    assert names["df"].count() == names["stored"].count() == names["summary"].rows == 5000
    exec(following("Rows in an engine").replace("s3a://lake", str(tmp_path)), names)
