"""Errors: their classes, their texts, and what they never contain."""

from __future__ import annotations

from typing import Any

import pytest

import overmind_export as oe
from faulty import DATASET, repeating, serving


def test_classes_mirror_the_exit_codes() -> None:
    codes = {
        oe.UsageError: 2,
        oe.DataError: 65,
        oe.IncompleteError: 65,
        oe.NotFoundError: 66,
        oe.UnavailableError: 69,
        oe.InternalError: 70,
        oe.OutputError: 73,
        oe.ReadWriteError: 74,
        oe.LockedError: 75,
        oe.AuthenticationError: 77,
        oe.ConfigurationError: 78,
    }
    for kind, code in codes.items():
        assert issubclass(kind, oe.Error) and kind.exit_code == code
    assert issubclass(oe.UsageError, ValueError)


def test_missing_key_says_how_to_give_it(demo: oe.Demo) -> None:
    with pytest.raises(oe.AuthenticationError) as raised:
        oe.read(demo.dataset, base_url=demo.url)
    error = raised.value
    assert (error.message, error.exit_code, error.status) == ("no API key", 77, None)
    assert error.hint is not None and error.hint.startswith("set OVERMIND_LAB_API_KEY")
    assert str(error) == f"no API key\n  hint: {error.hint}"


def test_refused_key_is_not_shown() -> None:
    with oe.demo(rows=1, api_key="right") as demo:
        with pytest.raises(oe.AuthenticationError) as raised:
            oe.read(demo.dataset, base_url=demo.url, api_key="ovr_canary")
    assert raised.value.status == 401
    assert "canary" not in f"{raised.value} {raised.value!r} {raised.value.__dict__}"


def test_missing_dataset(demo: oe.Demo, client: oe.Client) -> None:
    with pytest.raises(oe.NotFoundError) as raised:
        client.read(DATASET)
    assert (raised.value.status, raised.value.exit_code) == (404, 66)
    with pytest.raises(oe.NotFoundError):
        client.read(demo.dataset, version=99)


def test_incomplete_read_raises_in_every_call(tmp_path: Any) -> None:
    with serving(1_000, repeating) as url:
        client = oe.Client(base_url=url, api_key="k", concurrency=1)
        with pytest.raises(oe.IncompleteError, match="changed during the export"):
            client.read(DATASET)
        with pytest.raises(oe.IncompleteError):
            for _ in client.stream(DATASET):
                pass
        with pytest.raises(oe.IncompleteError):
            client.export(DATASET, tmp_path / "rows.parquet", max_passes=1)
        assert not list(tmp_path.iterdir())


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"limit": 0}, oe.UsageError, '"0" is not a valid limit: it must be at least 1'),
    ({"limit": -1}, oe.UsageError, '"-1" is not a valid limit: it must be at least 1'),
    ({"limit": "9"}, TypeError, "`limit` must be a whole number, not str"),
    ({"limit": True}, TypeError, "`limit` must be a whole number, not bool"),
    ({"limit": 1.5}, TypeError, "`limit` must be a whole number, not float"),
    ({"page_size": 0}, oe.UsageError, '"0" is not a valid page_size: it must be at least 1'),
    ({"page_size": 1 << 40}, oe.UsageError, '"1099511627776" is not a valid page_size: it is too large'),
    ({"pages": "7-3"}, oe.UsageError, '"7-3" is not a valid page range: it ends before it begins'),
    ({"columns": []}, oe.UsageError, '"" is not a valid list of columns: it is empty'),
    ({"columns": "id"}, TypeError, "`columns` must be a list of names, not str"),
    ({"columns": ["ids"]}, oe.UsageError, '"ids" is not a valid column: did you mean id? the columns are id, order, input, expected_output, persona, tags, additional_properties'),
    ({"columns": [1]}, TypeError, "`columns` must be a list of names, and each a str"),
    ({"source": "live"}, oe.UsageError, '"live" is not a valid source: use seed, synthetic, augmented or production'),
    ({"agent": "x"}, oe.UsageError, '"x" is not a valid agent: an id is a UUID, such as 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e'),
    ({"version": "3"}, TypeError, "`version` must be a whole number, not str"),
    ({"version_min": 5, "version_max": 2}, oe.UsageError, '"5..2" is not a valid version range: version_min must not be above version_max'),
    ({"concurrency": 0}, oe.UsageError, '"0" is not a valid concurrency: give auto or a number from 1 to 64'),
    ({"concurrency": 65}, oe.UsageError, '"65" is not a valid concurrency: give auto or a number from 1 to 64'),
    ({"rate_limit": "20"}, oe.UsageError, '"20" is not a valid rate limit: give requests per second, minute or hour, such as 20/s or 600/min'),
    ({"rate_limit": 20}, TypeError, "`rate_limit` must be a string, not int"),
    ({"timeout": 0}, oe.UsageError, '"0" is not a valid timeout: give a number of seconds above zero'),
    ({"timeout": float("nan")}, oe.UsageError, '"NaN" is not a valid timeout: give a number of seconds above zero'),
    ({"timeout": "5s"}, TypeError, "`timeout` must be a number of seconds, not str"),
    ({"allow_http": 1}, TypeError, "`allow_http` must be True or False, not int"),
    ({"max_retries": -1}, oe.UsageError, '"-1" is not a valid max_retries: it must not be negative'),
    ({"base_url": "http://10.0.0.1"}, oe.ConfigurationError, "http://10.0.0.1/ is plain http: the API key would cross the network unencrypted"),
    ({"base_url": "api"}, oe.ConfigurationError, 'the base URL "api" cannot be used: it must begin with https:// (or http:// for this machine)'),
    ({"api_key": '"k"'}, oe.ConfigurationError, "the API key cannot be used: it is in quotation marks: give it without them"),
    ({"api_key": None, "api_key_file": "/missing"}, oe.ConfigurationError, "cannot use the key file /missing"),
    ({"ca_cert": "/missing"}, oe.ConfigurationError, "cannot use the certificate file /missing"),
    ({"limits": 3}, TypeError, "read() got an unexpected keyword argument 'limits'. Did you mean 'limit'?"),
    ({"overwrite": True}, TypeError, "read() got an unexpected keyword argument 'overwrite'"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "kind", "message"), WRONG)
def test_wrong_option(
    demo: oe.Demo, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    before = demo.requests
    given = {"base_url": demo.url, "api_key": "demo"} | options
    with pytest.raises(kind) as raised:
        oe.read(demo.dataset, **given)
    assert getattr(raised.value, "message", str(raised.value)) == message
    assert demo.requests == before


@pytest.mark.parametrize(
    ("output", "options", "kind", "message"),
    [
        ("rows.tsv", {}, oe.UsageError, "rows.tsv"),
        ("-", {}, oe.UsageError, "`output` is standard output: give a path, or use `stream`"),
        ("rows.parquet", {"rows_per_file": 10}, oe.UsageError, "`rows_per_file` needs a directory of parts"),
        ("rows.parquet", {"compression": "gzip"}, oe.UsageError, '"gzip" is not a valid compression'),
        ("rows.parquet", {"format": "xml"}, oe.UsageError, '"xml" is not a valid format'),
        ("rows.parquet", {"encode_threads": 999}, oe.UsageError, "use 1 to 256"),
        ("s3://b/x.parquet", {"storage_options": "x"}, TypeError, "`storage_options` must be a"),
        ("missing/rows.parquet", {}, oe.OutputError, "missing"),
    ],
)
def test_wrong_export(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, demo: oe.Demo, client: oe.Client,
    output: str, options: dict[str, Any], kind: type[Exception], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as raised:
        client.export(demo.dataset, output, **options)
    assert message in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_name_instead_of_id_points_to_the_list(client: oe.Client) -> None:
    with pytest.raises(oe.UsageError) as raised:
        client.read("triage-eval")
    assert raised.value.message == (
        '"triage-eval" is not a valid dataset: an id is a UUID, such as '
        "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e; `datasets()` lists names with their ids"
    )
