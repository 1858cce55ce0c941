"""The data source of Ray Data, with workers in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import overmind_export as oe
import pytest

from engines import block, files
from faulty import DATASET, repeating, serving

pytestmark = [pytest.mark.long, pytest.mark.consumer("ray", "pyarrow")]


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # Also the environment of the workers.
        patch.setenv("OVERMIND_LAB_API_KEY", "demo")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20, configure_logging=False
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
        ray.shutdown()


def test_rows_equal_those_of_one_machine(ray: Any, demo: oe.Demo) -> None:
    ds = oe.ray.read(demo.dataset, 7, base_url=demo.url)
    rows = oe.read(demo.dataset, base_url=demo.url, api_key="demo").to_arrow().to_pylist()
    # Tasks end in any order.
    assert sorted(ds.take_all(), key=lambda it: it["order"]) == rows


def test_prove_counts_the_ids_of_all_tasks(ray: Any, demo: oe.Demo) -> None:
    ds = oe.ray.read(demo.dataset, base_url=demo.url, columns=["id"]).materialize()
    assert oe.ray.prove(ds) == oe.ray.prove(ds, 5000) == 5000
    with pytest.raises(oe.IncompleteError, match="5,000 rows, and 5,001 expected"):
        oe.ray.prove(ds, 5001)
    with pytest.raises(oe.UsageError, match="no column 'id'"):
        oe.ray.prove(ray.data.from_items([{"input": 1}]))
    with serving(1000, repeating) as url:
        ds = oe.ray.read(DATASET, 2, base_url=url, columns=["id"]).materialize()
        with pytest.raises(oe.IncompleteError, match="1,000 rows with 999 distinct ids"):
            oe.ray.prove(ds)


def test_changed_dataset_fails_the_read(ray: Any) -> None:
    requests = 0

    def answer(page: int, size: int, results: list[dict[str, object]]) -> tuple[int, object]:
        nonlocal requests
        requests += 1
        count = 1000 + (requests > 1)
        more = f"http://x/?page={page + 1}" if page * size < count else None
        return 200, {"count": count, "next": more, "previous": None, "results": results}

    with serving(1001, answer) as url:
        ds = oe.ray.read(DATASET, 5, base_url=url)
        with pytest.raises(Exception, match="the plan has 1,000 rows, and page . says 1,001"):
            ds.materialize()


def test_keys_are_refused() -> None:
    with pytest.raises(oe.UsageError, match="'api_key' may hold a credential"):
        oe.ray.read(DATASET, api_key="ovr_canary")


def test_examples_of_the_guide_run(ray: Any, demo: oe.Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERMIND_LAB_BASE_URL", demo.url)
    monkeypatch.setenv("OVERMIND_LAB_API_KEY", "demo")
    code = block("Ray").replace("s3://lake/eval/", f"{tmp_path}/out/")
    # The workers have the environment of their start.
    assert "it.index)" in code
    code = code.replace("it.index)", f'it.index, base_url="{demo.url}", progress=False)')
    names = {"ray": ray, "ID": demo.dataset, "oe": oe}
    exec(code, names)
    oe.export(demo.dataset, f"{tmp_path}/alone/")
    assert names["rows"] == 5000 and files(tmp_path / "out") == files(tmp_path / "alone")
