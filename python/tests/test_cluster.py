"""One export that many workers write, with worker processes of Python."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import overmind_export as oe
import pytest


def write(output: str, index: int, api: dict[str, str]) -> str:
    return oe.cluster.part(output, index, progress=False, **api).outcome


@pytest.fixture
def lake(tmp_path: Path):
    with oe.demo(rows=1000) as demo:
        yield f"{tmp_path}/out/", demo.dataset, {"base_url": demo.url, "api_key": "demo"}


def test_processes_write_the_export_of_one(lake, tmp_path):
    output, dataset, api = lake
    plan = oe.cluster.begin(dataset, output, 5, rows_per_file=100, page_size=25, **api)
    assert sum(it.rows for it in plan.ranges) == 1000
    assert repr(plan) == "<Plan: 1,000 rows, 5 ranges>"
    with ProcessPoolExecutor(3) as pool:
        # Each range twice.
        jobs = [pool.submit(write, output, it.index, api) for it in plan.ranges * 2]
        outcomes = [job.result() for job in jobs]
    assert outcomes.count("written") == 5
    summary = oe.cluster.commit(output, progress=False, **api)
    alone = oe.export(dataset, tmp_path / "alone", rows_per_file=100, page_size=25, **api)
    assert (summary.digest, summary.completeness) == (alone.digest, "proven")
    files = [sorted((path.name, path.read_bytes()) for path in Path(folder).iterdir()) for folder in (output, alone.output)]
    assert files[0] == files[1]


def test_missing_ranges_are_named_and_kept(lake):
    output, dataset, api = lake
    oe.cluster.begin(dataset, output, 3, rows_per_file=100, **api)
    assert write(output, 1, api) == "written"
    assert oe.cluster.status(output).missing == [0, 2]
    with pytest.raises(oe.DataError, match="range 1 of 3: pages 1 to 3 are missing"):
        oe.cluster.commit(output, progress=False, **api)
    for index in oe.cluster.status(output).missing:
        write(output, index, api)
    assert oe.cluster.commit(output, progress=False, **api).rows == 1000


def test_steps_without_a_plan_name_what_is_missing(lake):
    output, dataset, api = lake
    steps = [lambda: write(output, 0, api), lambda: oe.cluster.status(output), lambda: oe.cluster.abort(output)]
    for step in steps:
        with pytest.raises(oe.NotFoundError, match="no plan for many workers is there"):
            step()
    oe.export(dataset, output, limit=10, **api)
    for step in steps:
        with pytest.raises(oe.LockedError):
            step()
    shutil.rmtree(output)
    Path(output).with_suffix(".manifest.json").unlink()
    plan = oe.cluster.begin(dataset, output, 12, rows_per_file=100, **api)
    assert repr(plan) == "<Plan: 1,000 rows, 12 ranges, 2 of them without pages>"
    oe.cluster.abort(output)
    assert list(Path(output).parent.iterdir()) == []


def test_wrong_ranges_are_usage_errors(lake):
    output, dataset, api = lake
    oe.cluster.begin(dataset, output, 2, **api)
    with pytest.raises(oe.UsageError, match="the plan has 2 ranges"):
        oe.cluster.part(output, 2, progress=False, **api)
    with pytest.raises(oe.UsageError, match="the plan has 2 ranges"):
        oe.cluster.part(output, 0, ranges=3, progress=False, **api)
    with pytest.raises(oe.UsageError, match="rate_limit"):
        oe.cluster.part(output, 0, share=4, progress=False, **api)
    with pytest.raises(oe.UsageError, match="dedupe"):
        oe.cluster.begin(dataset, output, 2, dedupe=".input", **api)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_killed_worker_changes_nothing(lake):
    output, dataset, api = lake
    oe.cluster.begin(dataset, output, 2, rows_per_file=100, page_size=10, **api)
    code = f"import overmind_export as oe; print(1, flush=True); oe.cluster.part({output!r}, 0, progress=False, **{api!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        os.kill(killed.pid, signal.SIGKILL)
    for index in (0, 1):
        write(output, index, api)
    assert oe.cluster.commit(output, progress=False, **api).completeness == "proven"
