"""A sample program, for type checkers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import overmind_export as oe


def show(progress: oe.Progress) -> None:
    total: int | None = progress.total
    assert total is None or progress.rows <= total


def main() -> None:
    with oe.demo(rows=200) as demo, TemporaryDirectory() as folder:
        options: oe.ConnectionOptions = {"base_url": demo.url, "api_key": "demo", "timeout": 5}
        with oe.Client(base_url=demo.url, api_key="demo", concurrency="auto", rate_limit="100/s", progress=show) as client:
            found: list[oe.Dataset] = client.datasets(source="synthetic", version_min=1)
            names: list[str | None] = [dataset.name for dataset in found]
            rows: oe.Rows = client.read(demo.dataset, columns=["id", "input"], limit=None, progress=False)
            summary: oe.Summary = rows.summary
            proven: bool = summary.completeness == "proven"
            assert proven, names
            frame = rows.to_pandas(dtype_backend="pyarrow", json="text")
            height: int = rows.to_polars().height + len(frame)
            total: int = sum(batch.num_rows for batch in client.stream(demo.dataset))
            assert height == 2 * total
            shape: oe.TransformOptions = {"where": ".order < 9", "column": {"n": ("int", ".order"), "k": ".id"}}
            some: oe.Rows = client.read(demo.dataset, columns=["n", "k"], where=".order < 9", column=shape["column"])
            assert some.summary.rows_read == total and some.summary.failed_rows == 0
        written: oe.Summary = oe.export(
            demo.dataset, Path(folder, "rows.parquet"), overwrite=True, **options
        )
        again: oe.Rows = oe.open(Path(folder, "rows.parquet")).read(columns=("id",), progress="auto")
        assert again.num_rows == written.rows
        config = Path(folder, "snapshots.toml")
        config.write_text(f'[[job]]\nname = "a"\nroot = "root"\ndataset = "{demo.dataset}"\n')
        results: list[oe.JobResult] = oe.snapshot(config, jobs=["a"], parallel=2, **options)
        failures: list[oe.Error | None] = [result.error for result in results]
        assert failures == [None] and results[0].status == "stored"
        newest: oe.Export = oe.open_snapshot(Path(folder, "root"), "a", at=None, dataset=demo.dataset)
        listed: list[oe.Snapshot] = oe.snapshots(Path(folder, "root"), "a")
        assert newest.location == listed[-1].location == listed[-1].open().location
        try:
            oe.read(demo.dataset, base_url=demo.url, api_key="demo", version=99)
        except oe.NotFoundError as error:
            status: int | None = error.status
            hint: str | None = error.hint
            assert status == 404 and hint is not None


if __name__ == "__main__":
    main()
