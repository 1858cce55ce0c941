"""Snapshots: finding and opening them, and running jobs."""

from __future__ import annotations

import fcntl
import json
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe
from conftest import ROWS
from faulty import DATASET, repeating, serving
from store import bucket
from test_signals import interrupted

UTC = timezone.utc
STAMPS = ("20261119T020000Z", "20261120T235959Z", "20261121T000000Z")


@pytest.fixture
def config(tmp_path: Path, demo: oe.Demo) -> Path:
    """A configuration with a job that works, one that fails, and one for all datasets."""
    path = tmp_path / "snapshots.toml"
    path.write_text(f"""
        [api]
        base_url = "{demo.url}"
        [defaults]
        root = "root"
        unchanged = "content"
        [[job]]
        name = "nightly"
        dataset = "{demo.dataset}"
        [[job]]
        name = "missing"
        dataset = "{DATASET}"
        [[job]]
        name = "every"
        select = "all"
    """)
    return path


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory, demo: oe.Demo) -> Iterator[Path]:
    """A root with a snapshot for each of the stamps. The rows tell them apart."""
    root = tmp_path_factory.mktemp("dated") / "root"
    path = root.parent / "snapshots.toml"
    path.write_text(f'[[job]]\nname = "nightly"\nroot = "root"\ndataset = "{demo.dataset}"\n')
    (result,) = oe.snapshot(path, base_url=demo.url, api_key="demo")
    assert result.location is not None
    taken = Path(result.location)
    hidden = root / ".overmind" / "nightly"
    record = hidden / f"{taken.name}.manifest.json"
    manifest = json.loads(record.read_text())
    for stamp in STAMPS:
        manifest["snapshot"]["stamp"] = stamp
        shutil.copytree(taken, taken.with_name(f"snapshot={stamp}"))
        (hidden / f"snapshot={stamp}.manifest.json").write_text(json.dumps(manifest))
    # One that is not complete.
    (taken.parent / "snapshot=20261122T000000Z").mkdir()
    record.unlink()
    shutil.rmtree(taken)
    yield root


def stamp_of(export: oe.Export) -> str:
    return export.location.rpartition("snapshot=")[2]


@pytest.mark.parametrize(
    ("at", "stamp"),
    [
        (None, STAMPS[2]),
        ("2026-11-20", STAMPS[1]),
        (date(2026, 11, 20), STAMPS[1]),
        ("2026-11-19", STAMPS[0]),
        ("2030-01-01", STAMPS[2]),
        ("2026-11-20T23:59:59Z", STAMPS[1]),
        ("2026-11-20T23:59:58Z", STAMPS[0]),
        ("2026-11-20 23:59", STAMPS[0]),
        ("2026-11-21 00:00:00", STAMPS[2]),
        ("2026-11-21T01:00:00+01:00", STAMPS[2]),
        ("2026-11-21T00:59:59+01:00", STAMPS[1]),
        (STAMPS[1], STAMPS[1]),
        (datetime(2026, 11, 20, 23, 59, 59, 999_999), STAMPS[1]),
        (datetime(2026, 11, 21, 1, tzinfo=timezone(timedelta(hours=1))), STAMPS[2]),
        (datetime(2026, 11, 21, tzinfo=timezone(timedelta(hours=1))), STAMPS[0]),
    ],
)
def test_newest_snapshot_not_after_a_time(dated: Path, at: Any, stamp: str) -> None:
    assert stamp_of(oe.open_snapshot(dated, "nightly", at=at)) == stamp


@pytest.mark.consumer("pandas", "pyarrow")
def test_pandas_timestamp_is_a_time(dated: Path) -> None:
    import pandas as pd

    assert stamp_of(oe.open_snapshot(dated, "nightly", at=pd.Timestamp("2026-11-20"))) == STAMPS[0]


def test_opened_snapshot_is_an_export(dated: Path) -> None:
    export = oe.open_snapshot(str(dated), "nightly")
    assert repr(export) == f"<Export: {dated}/nightly/snapshot={STAMPS[2]}>"
    assert export.location == f"{dated}/nightly/snapshot={STAMPS[2]}"
    assert (export.read(columns=["id"]).num_rows, export.summary.completeness) == (ROWS, "proven")
    assert export.manifest is not None and export.manifest["snapshot"]["job"] == "nightly"


def test_snapshots_are_listed(dated: Path, demo: oe.Demo) -> None:
    listed = oe.snapshots(dated, "nightly")
    assert [f"{it.taken:%Y%m%dT%H%M%SZ}" for it in listed] == list(STAMPS)
    assert {(it.job, it.dataset, it.rows, it.version) for it in listed} == {
        ("nightly", demo.dataset, ROWS, 1)
    }
    assert listed[0].taken == datetime(2026, 11, 19, 2, tzinfo=UTC)
    assert listed[1].open().read(columns=["id"]).num_rows == ROWS
    assert json.loads(json.dumps(listed[0].to_dict()))["taken"] == "2026-11-19T02:00:00Z"
    assert repr(listed[0]).startswith("<Snapshot: nightly, 2026-11-19T02:00:00Z: 5,000 rows, /")


def refused(root: Any, job: Any = "nightly", **options: Any) -> str:
    with pytest.raises((oe.NotFoundError, oe.UsageError, TypeError)) as raised:
        oe.open_snapshot(root, job, **options)
    return f"{type(raised.value).__name__}: {raised.value}"


def test_missing_snapshot_says_what_there_is(
    dated: Path, demo: oe.Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dated)
    assert refused(dated, "nigtly") == (
        f"NotFoundError: there is no job 'nigtly' below '{dated}'\n"
        "  hint: did you mean 'nightly'? it has 'nightly'"
    )
    assert refused(dated, "../root/nightly").startswith("NotFoundError: there is no job '../root/")
    assert "no job '\\u202e\\x1b'" in refused(dated, "\u202e\x1b")
    assert refused("nowhere") == (
        f"NotFoundError: there is no folder 'nowhere'\n  hint: a relative path begins in '{dated}'"
    )
    assert refused(dated.parent).startswith("NotFoundError: there are no snapshots below ")
    assert refused(dated, at="2026-11-18") == (
        "NotFoundError: job 'nightly' has no snapshot that was taken until 2026-11-18 (UTC)\n"
        "  hint: the oldest was taken at 2026-11-19T02:00:00Z"
    )
    assert refused(dated, dataset=DATASET) == (
        f"NotFoundError: job 'nightly' has no snapshot of dataset {DATASET}\n"
        f"  hint: it has snapshots of '{demo.dataset}'"
    )
    assert "is not a valid time: give a date" in refused(dated, at="yesterday")
    assert refused(dated, at=5) == "TypeError: `at` must be a date, a datetime or a string, not int"
    assert refused(dated, 5) == "TypeError: `job` must be a name, not int"
    assert "Did you mean 'dataset'?" in refused(dated, datasets=DATASET)
    assert "the known schemes are s3" in refused("ftp://host/root")


def test_job_of_many_datasets_needs_one(tmp_path: Path, demo: oe.Demo) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","order":1,"input":1}\n')
    config = tmp_path / "snapshots.toml"
    config.write_text('[[job]]\nname = "every"\nroot = "root"\nselect = "all"\n')
    with oe.demo(rows=7, files=[rows]) as demo:
        (result,) = oe.snapshot(config, base_url=demo.url, api_key="demo")
        small, large = demo.datasets
    assert (result.rows, len(result.snapshots), result.location) == (8, 2, None)
    assert "choose one with `dataset`: " in refused(tmp_path / "root", "every")
    for dataset, count in [(small, 1), (large.upper(), 7)]:
        export = oe.open_snapshot(tmp_path / "root", "every", dataset=dataset)
        assert export.read().num_rows == count


def test_configuration_names_the_root(config: Path) -> None:
    oe.snapshot(config, ["nightly"], api_key="demo")
    assert oe.open_snapshot(config, "nightly").location.startswith(f"{config.parent}/root/nightly/")
    assert 'has no such job; try "nightly"' in refused(config, "nigtly")
    assert refused(config, "missing").startswith("NotFoundError: there is no job 'missing' below")
    # Another process can read a local snapshot without the configuration.
    data = pickle.dumps(oe.open_snapshot(config, "nightly"))
    config.unlink()
    assert pickle.loads(data).read(columns=["id"]).num_rows == ROWS


def test_store_has_snapshots(dated: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with bucket(dated.parent, key="canary_id") as endpoint:
        known = {"endpoint": endpoint, "allow_http": "true", "region": "eu-north-1"}
        secret = {"access_key_id": "canary_id", "secret_access_key": "canary_secret"}
        export = oe.open_snapshot(
            "s3://b/root", "nightly", at="2026-11-20", storage_options=known | secret
        )
        assert export.location == f"s3://b/root/nightly/snapshot={STAMPS[1]}"
        assert export.read(columns=["id"]).num_rows == ROWS
        # The secrets of a pickle come from the environment of the other process.
        data = pickle.dumps(export)
        assert b"canary" not in data and "canary" not in repr(export)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary_id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary_secret")
        assert pickle.loads(data).summary.rows == ROWS
        assert refused("s3://b/root", "nigtly", storage_options=known).startswith(
            "NotFoundError: there is no job 'nigtly' below 's3://b/root'"
        )
        assert "no snapshots below 's3://b/else'" in refused("s3://b/else", storage_options=known)
        # The settings of the store are in the configuration.
        config = tmp_path / "snapshots.toml"
        storage = ", ".join(f'{name} = "{value}"' for name, value in known.items())
        config.write_text(
            f'[[job]]\nname = "nightly"\nroot = "s3://b/root"\ndataset = "{DATASET}"\nstorage = {{ {storage} }}\n'
        )
        export = pickle.loads(pickle.dumps(oe.open_snapshot(config, "nightly")))
        assert export.read(columns=["id"]).num_rows == ROWS


def test_error_of_a_job_is_that_of_its_cause(tmp_path: Path) -> None:
    config = tmp_path / "snapshots.toml"
    config.write_text(
        f'[[job]]\nname = "nightly"\nroot = "root"\ndataset = "{DATASET}"\nunchanged = "content"\nmax_passes = 1\n'
    )
    with serving(1_000, repeating) as url:
        (result,) = oe.snapshot(config, base_url=url, api_key="k", check=False)
    assert isinstance(result.error, oe.IncompleteError) and result.error.status is None
    with serving(1_000, lambda *_: (403, {"detail": "no"})) as url:
        (result,) = oe.snapshot(config, base_url=url, api_key="k", check=False)
    assert isinstance(result.error, oe.AuthenticationError) and result.error.status == 403


def test_jobs_run_and_say_what_they_did(config: Path, demo: oe.Demo) -> None:
    results = oe.snapshot(config, api_key="demo", check=False)
    assert [(it.job, it.status, it.rows, it.exit_code) for it in results] == [
        ("nightly", "stored", ROWS, 0),
        ("missing", "failed", 0, 66),
        ("every", "stored", ROWS, 0),
    ]
    nightly, missing, every = results
    (stored,) = nightly.snapshots
    assert nightly.location == stored.location
    assert stored.location is not None and stored.location.startswith(nightly.folder)
    assert (stored.dataset, stored.status, stored.rows) == (demo.dataset, "stored", ROWS)
    assert stored.taken is not None and stored.taken.tzinfo is UTC
    assert every.snapshots[0].location == oe.open_snapshot(config, "every").location
    assert nightly.error is None and isinstance(missing.error, oe.NotFoundError)
    assert missing.error.status == 404
    assert repr(nightly) == f"<JobResult: nightly: stored 5,000 rows, {nightly.location}>"
    assert repr(missing).startswith("<JobResult: missing: failed (exit 66): no such dataset")
    # A second run finds the data unchanged.
    again = oe.snapshot(config, ["nightly"], api_key="demo")[0]
    assert (again.status, again.rows, again.location) == ("unchanged", 0, nightly.location)
    assert again.snapshots[0].unchanged_by == "content"
    assert pickle.loads(pickle.dumps(results)) == results


def test_results_are_the_lines_of_the_history(config: Path) -> None:
    for _ in range(2):
        results = oe.snapshot(config, api_key="demo", check=False)
    for result in results:
        hidden = config.parent / "root" / ".overmind" / result.job
        lines = (hidden / "history.jsonl").read_text().splitlines()
        assert len(lines) == 2
        told = json.loads(json.dumps(result.to_dict()))
        assert told.pop("folder") == str(config.parent / "root" / result.job)
        assert json.loads(lines[-1]) == told


def test_failed_job_raises_after_all_have_run(config: Path) -> None:
    with pytest.raises(oe.SnapshotError) as raised:
        oe.snapshot(config, api_key="demo")
    error = raised.value
    assert (error.message, error.exit_code) == ("1 of 3 jobs failed", 66)
    assert [result.status for result in error.results] == ["stored", "failed", "stored"]
    assert error.causes[0].startswith("missing: no such dataset")
    assert "hint: check the id" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.exit_code, len(again.results)) == (str(error), 66, 3)


def test_command_ends_with_the_same_code(config: Path, command: str) -> None:
    import subprocess

    arguments = [command, "snapshot", "-q", "--config", str(config)]
    done = subprocess.run(arguments, env={"OVERMIND_LAB_API_KEY": "demo"}, capture_output=True)
    with pytest.raises(oe.SnapshotError) as raised:
        oe.snapshot(config, api_key="demo")
    assert raised.value.exit_code == done.returncode


def test_unknown_job_is_refused_before_a_request(config: Path, demo: oe.Demo) -> None:
    before = demo.requests
    wrong: list[tuple[Any, type[Exception], str]] = [
        (["nightly", "mising"], oe.UsageError, 'has no such job; try "missing"'),
        ([], oe.UsageError, "is not a valid list of jobs: it is empty"),
        ("nightly", TypeError, "`jobs` must be a list of names, not str"),
        ([1], TypeError, "`jobs` must be a list of names, and each a str"),
    ]
    for names, kind, message in wrong:
        with pytest.raises(kind, match=message):
            oe.snapshot(config, names, api_key="demo")
    with pytest.raises(oe.UsageError, match="must be at least 1"):
        oe.snapshot(config, parallel=0, api_key="demo")
    with pytest.raises(oe.ConfigurationError, match="No such file"):
        oe.snapshot(config.with_name("none.toml"), api_key="demo")
    assert demo.requests == before and not (config.parent / "root").exists()


def test_default_configuration_is_the_users(
    config: Path, monkeypatch: pytest.MonkeyPatch, demo: oe.Demo
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent))
    with pytest.raises(oe.ConfigurationError, match="no configuration file: there is no /"):
        oe.snapshot(api_key="demo")
    (config.parent / "overmind-export").mkdir()
    shutil.move(config, config.parent / "overmind-export" / "snapshots.toml")
    assert oe.Client(api_key="demo").snapshot(jobs=iter(["nightly"]))[0].status == "stored"


def test_retention_works_as_in_the_command(tmp_path: Path, demo: oe.Demo) -> None:
    config = tmp_path / "snapshots.toml"
    config.write_text(
        f'[[job]]\nname = "a"\nroot = "r"\ndataset = "{demo.dataset}"\nunchanged = "never"\nkeep = {{ last = 1 }}\n'
    )
    (first,) = oe.snapshot(config, base_url=demo.url, api_key="demo")
    (second,) = oe.snapshot(config, base_url=demo.url, api_key="demo")
    assert first.location is not None and second.pruned == [Path(first.location).name]
    assert [it.location for it in oe.snapshots(tmp_path / "r", "a")] == [second.location]


def test_locked_job_fails(config: Path) -> None:
    oe.snapshot(config, ["nightly"], api_key="demo")
    with (config.parent / "root/.overmind/nightly/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(oe.SnapshotError) as raised:
            oe.snapshot(config, ["nightly"], api_key="demo")
    assert raised.value.exit_code == 75
    assert isinstance(raised.value.results[0].error, oe.LockedError)


def test_ctrl_c_ends_a_run_of_jobs(tmp_path: Path, slow: oe.Demo) -> None:
    config = tmp_path / "snapshots.toml"
    config.write_text(f'[[job]]\nname = "slow"\nroot = "root"\ndataset = "{slow.dataset}"\n')
    call = "def call():\n    print('ready', flush=True)\n    client.snapshot(sys.argv[3])"
    interrupted(slow, call, str(config))
    (line,) = (tmp_path / "root/.overmind/slow/history.jsonl").read_text().splitlines()
    assert json.loads(line)["exit_code"] == 130
    assert not (tmp_path / "root/.overmind/slow/.lock").exists()
    assert not list((tmp_path / "root/slow").iterdir())


def test_handler_of_a_signal_ends_a_run_of_jobs(tmp_path: Path) -> None:
    # Airflow asks a task to end with SIGTERM, whose handler raises.
    class Asked(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Asked

    with oe.demo(rows=100_000, latency=0.2) as demo:
        config = tmp_path / "snapshots.toml"
        config.write_text(f'[[job]]\nname = "slow"\nroot = "root"\ndataset = "{demo.dataset}"\n')

        def ask() -> None:
            while demo.requests < 2:
                time.sleep(0.01)
            signal.raise_signal(signal.SIGTERM)

        before = signal.signal(signal.SIGTERM, handler)
        thread = threading.Thread(target=ask)
        thread.start()
        try:
            with pytest.raises(Asked):
                oe.snapshot(config, base_url=demo.url, api_key="demo", concurrency=1)
        finally:
            thread.join()
            signal.signal(signal.SIGTERM, before)
    line = json.loads((tmp_path / "root/.overmind/slow/history.jsonl").read_text())
    assert (line["status"], line["exit_code"]) == ("failed", 130)
