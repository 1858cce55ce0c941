"""Pickles, and what never shows a secret."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe
from conftest import ROWS
from faulty import DATASET, repeating, serving

KEY = "ovr_canary_key"
SETTINGS = {
    "region": "canada",
    "secret_access_key": "canary_secret",
    "AWS_SESSION_TOKEN": "canary_token",
    "endpoint": "http://canary:canary@127.0.0.1:9",
    "something_new": "canary_new",
}

#: Dictionaries of options, and a tuple of numbers.
ONLY_TYPES = {name for name in oe.__all__ if name.endswith("Options")} | {"Progress"}


def objects(folder: Path, demo: oe.Demo) -> dict[str, Any]:
    """An object of each public class that pickles."""
    config = folder / "snapshots.toml"
    config.write_text(f'[[job]]\nname = "a"\nroot = "root"\ndataset = "{demo.dataset}"\n')
    client = oe.Client(base_url=demo.url, api_key=KEY, rate_limit="500/s")
    rows = client.read(demo.dataset, limit=50)
    client.export(demo.dataset, folder / "out", limit=50)
    client.export(demo.dataset, folder / "more", limit=60)
    (result,) = client.snapshot(config)
    diff = oe.diff(folder / "out", folder / "more")
    errors = {
        name: kind("no", hint="look", causes=("a",), status=404)
        for name, kind in [(name, getattr(oe, name)) for name in oe.__all__]
        if inspect.isclass(kind) and issubclass(kind, oe.Error) and kind is not oe.SnapshotError
    }
    return errors | {
        "AsyncClient": oe.AsyncClient(base_url=demo.url, api_key=KEY, rate_limit="500/s"),
        "Batch": next(client.stream(demo.dataset)),
        "Client": client,
        "Dataset": client.datasets()[0],
        "Diff": diff,
        "Difference": diff.differences[0],
        "Explanation": client.explain(demo.dataset, where="false", rows=1)[0],
        "Export": oe.open(folder / "out", storage_options=SETTINGS),
        "JobResult": result,
        "Rows": rows,
        "Snapshot": oe.snapshots(folder / "root", "a", storage_options=SETTINGS)[0],
        "SnapshotError": oe.SnapshotError("no", [result], hint="look", exit_code=75),
        "SnapshotResult": result.snapshots[0],
        "Summary": rows.summary,
        "Verification": oe.verify(folder / "out"),
    }


def test_every_class_pickles_or_refuses(tmp_path: Path, demo: oe.Demo) -> None:
    made = objects(tmp_path, demo)
    classes = {name for name in oe.__all__ if inspect.isclass(getattr(oe, name))}
    begin = "begin it in the process that reads it"
    refusing = {"Stream": begin, "AsyncStream": begin, "Demo": "pass its url", "Report": "save it"}
    assert classes - ONLY_TYPES == set(made) | set(refusing)
    for name, one in made.items():
        assert type(one) is getattr(oe, name)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            data = pickle.dumps(one, protocol)
            again = pickle.loads(data)
            assert type(again) is type(one)
            assert repr(again) == repr(one) and str(again) == str(one)
            assert vars(one).keys() <= vars(again).keys()
            assert b"canary" not in data, name
        for shown in [repr(one), str(one), repr(vars(one)), getattr(one, "_repr_html_", str)()]:
            assert "canary" not in shown, name
        assert repr(copy.deepcopy(one)) == repr(copy.copy(one)) == repr(one)
    stream = oe.stream(demo.dataset, base_url=demo.url, api_key=KEY)
    later = oe.AsyncClient(base_url=demo.url, api_key=KEY).stream(demo.dataset)
    for one in (stream, later, demo, oe.report(tmp_path / "out")):
        hint = refusing[type(one).__name__]
        for refused in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=f"cannot be pickled: {hint}"):
                refused(one)  # type: ignore[operator]
    assert "canary" not in repr(stream) + repr(vars(stream)) + repr(later)


def test_pickled_objects_work(tmp_path: Path, demo: oe.Demo) -> None:
    made = {name: pickle.loads(pickle.dumps(it)) for name, it in objects(tmp_path, demo).items()}
    client = oe.Client(base_url=demo.url, api_key=KEY)
    rows = client.read(demo.dataset, limit=50)
    assert made["Rows"]._inner.head(ROWS) == rows._inner.head(ROWS)
    assert made["Rows"].summary.digest == rows.summary.digest
    assert made["Batch"].num_rows == 4_000
    assert made["Export"].read().summary.digest == rows.summary.digest
    assert made["Snapshot"].open().read(columns=["id"]).num_rows == ROWS
    error = made["NotFoundError"]
    assert (error.message, error.hint, error.causes, error.status) == ("no", "look", ("a",), 404)
    assert made["Summary"] == rows.summary.__class__(**made["Summary"].to_dict())


def test_pickled_client_takes_key_from_environment(
    demo: oe.Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = oe.Client(base_url=demo.url, api_key=KEY, rate_limit="50/s")
    again = pickle.loads(pickle.dumps(client))
    with pytest.raises(oe.AuthenticationError, match="no API key"):
        again.read(demo.dataset)
    monkeypatch.setenv("OVERMIND_LAB_API_KEY", KEY)
    assert again.read(demo.dataset, limit=1).num_rows == 1
    # A copy in the same process has it.
    monkeypatch.delenv("OVERMIND_LAB_API_KEY")
    assert copy.deepcopy(client).read(demo.dataset, limit=1).num_rows == 1


@pytest.mark.consumer("polars")
def test_pickled_rows_convert(demo: oe.Demo) -> None:
    import polars as pl

    rows = oe.read(demo.dataset, base_url=demo.url, api_key=KEY)
    again = pickle.loads(pickle.dumps(rows))
    assert pl.DataFrame(again).equals(pl.DataFrame(rows))
    assert again.summary == rows.summary
    # Only the rows that a part shows are in its pickle.
    assert len(pickle.dumps(rows.head(10))) < 50_000


def shown_locals(error: BaseException) -> str:
    """A traceback with the local variables of all frames of the package, and the error itself."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = []
    while found is not None:
        ours = [it for it in found.stack if "/overmind_export/" in it.filename]
        frames += [f"{it.name}: {it.locals}" for it in ours]
        found = found.__cause__ or found.__context__  # type: ignore[assignment]
    assert frames
    return "\n".join([*frames, str(error), repr(error), repr(vars(error))])


MISTAKES: list[dict[str, Any]] = [
    {"api_key": KEY, "limit": 0},
    {"api_key": KEY, "limits": 3},
    {"api_key": KEY, "columns": "id"},
    {"apikey": KEY},
    {"api_key": KEY.encode()},
    {"api_key": [KEY]},
    {"api_key": f'"{KEY}"'},
    {"api_key": f"{KEY}\n\n{KEY}"},
    {"api_key": KEY, "base_url": "http://canary:canary@10.0.0.1"},
    {"api_key": KEY, "base_url": "http://10.0.0.1/?key=canary"},
    {"api_key": KEY, "agent": "x"},
    {"api_key": KEY, "ca_cert": "/missing"},
    {"api_key": KEY},
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda it: "-".join(it))
@pytest.mark.parametrize("call", ["read", "stream", "export", "scan", "datasets", "Client", "snapshot"])
def test_no_traceback_shows_the_key(tmp_path: Path, call: str, mistake: dict[str, Any]) -> None:
    config = tmp_path / "snapshots.toml"
    config.write_text(f'[[job]]\nname = "a"\nroot = "root"\ndataset = "{DATASET}"\n')
    with oe.demo(rows=1, api_key="right") as demo:
        options = {"base_url": demo.url, "max_retries": 0} | mistake

        def read() -> None:
            if call == "Client":
                oe.Client(**options).read(DATASET)
            elif call == "datasets":
                oe.datasets(**options)
            elif call == "snapshot":
                oe.snapshot(config, **options)
            elif call == "export":
                oe.export(DATASET, tmp_path / "rows.parquet", **options)
            elif call == "stream":
                list(oe.stream(DATASET, **options))
            elif call == "scan":
                pytest.importorskip("polars")
                try:
                    oe.scan(DATASET, **options).collect()
                except Exception as error:
                    # Polars runs our code, and hands its error on.
                    assert "canary" not in str(error)
                    raise
            else:
                oe.read(DATASET, **options)

        with pytest.raises(Exception) as raised:
            read()
        assert "canary" not in shown_locals(raised.value)


@pytest.mark.parametrize("options", [SETTINGS, "canary", ["canary"], {"region": 5, "x": b"canary"}])
def test_no_traceback_shows_a_setting_of_a_store(
    tmp_path: Path, demo: oe.Demo, options: Any
) -> None:
    client = oe.Client(base_url=demo.url, api_key=KEY)
    place = "s3://bucket/rows.parquet"
    calls = [
        lambda: oe.open(place, storage_options=options).read(),
        lambda: oe.open(tmp_path / "none", storage_options=options).read(),
        lambda: oe.open_snapshot(tmp_path, "a", storage_options=options),
        lambda: oe.snapshots(tmp_path, "a", storage_options=options),
        lambda: oe.verify(place, storage_options=options),
        lambda: oe.diff(place, place, storage_options=options),
        lambda: oe.snapshot(tmp_path, storage_options=options, api_key=KEY),
        lambda: client.export(demo.dataset, place, storage_options=options),
    ]
    for call in calls:
        with pytest.raises((oe.Error, TypeError)) as raised:
            call()
        assert "canary" not in shown_locals(raised.value)


def test_incomplete_read_shows_no_key(tmp_path: Path) -> None:
    with serving(1_000, repeating) as url:
        client = oe.Client(base_url=url, api_key=KEY, concurrency=1)
        for call in [lambda: client.read(DATASET), lambda: list(client.stream(DATASET))]:
            with pytest.raises(oe.IncompleteError) as raised:
                call()
            assert "canary" not in shown_locals(raised.value)


def test_user_keeps_what_was_given(demo: oe.Demo, tmp_path: Path) -> None:
    options = {"base_url": demo.url, "api_key": KEY}
    settings = dict(SETTINGS)
    oe.read(demo.dataset, limit=1, **options)  # type: ignore[arg-type]
    oe.open(tmp_path, storage_options=settings)
    assert (options["api_key"], settings) == (KEY, SETTINGS)


def test_url_with_a_password_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(oe.UsageError) as raised:
        oe.open("s3://canary:canary@bucket/x")
    assert "canary" not in f"{raised.value} {raised.value!r}"
    monkeypatch.chdir(tmp_path)
    for name in ("a", "..", "\x1b[2J\u202e"):
        Path(name).mkdir(exist_ok=True)
        assert repr(oe.open(name)) == f"<Export: {name}>" or "\ufffd" in repr(oe.open(name))
