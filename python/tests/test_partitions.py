"""Ranges of pages, which the tasks of engines read. No engine is needed here."""

from __future__ import annotations

import importlib.util
import pickle

import overmind_export as oe
import pytest
from overmind_export._partitions import not_distinct, options_of_texts, refuse_credentials

from faulty import DATASET, repeating, serving


def ids(partitions: list[oe.cluster.Partition]) -> list[str]:
    return [values[0] for part in partitions for values in part.read()._inner.head(part.rows)]


def test_partitions_have_every_row_in_order(demo: oe.Demo) -> None:
    api = {"base_url": demo.url, "api_key": "demo"}
    found = oe.cluster.partitions(demo.dataset, 7, columns=["id"], page_size=60, **api)
    assert [(it.index, it.first_page, it.last_page, it.rows) for it in found[-2:]] == [(10, 71, 77, 420), (11, 78, 84, 380)]
    rows = oe.read(demo.dataset, columns=["id"], **api)
    assert ids(found) == [values[0] for values in rows._inner.head(rows.num_rows)]


def test_partition_of_an_empty_dataset_has_no_rows() -> None:
    with serving(0, lambda *_: (200, None)) as url:
        (only,) = oe.cluster.partitions(DATASET, base_url=url, api_key="demo")
        assert (only.rows, only.read().num_rows) == (0, 0)


def test_pickle_has_no_key(demo: oe.Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    found = oe.cluster.partitions(demo.dataset, base_url=demo.url, api_key="demo")
    copy = pickle.loads(pickle.dumps(found[0]))
    assert found[0].read().num_rows == copy.rows
    assert "api_key" not in copy.options and copy == found[0]
    with pytest.raises(oe.AuthenticationError):
        copy.read()
    # The worker has its own key, and the base URL of the plan.
    monkeypatch.setenv("OVERMIND_LAB_API_KEY", "demo")
    monkeypatch.setenv("OVERMIND_LAB_BASE_URL", "http://127.0.0.1:9")
    assert copy.read().num_rows == copy.rows


@pytest.mark.parametrize("now", [950, 1001, 150])
def test_changed_dataset_is_an_error(now: int) -> None:
    rows = 1000

    def answer(page: int, size: int, results: list[dict[str, object]]) -> tuple[int, object]:
        first = (page - 1) * size
        if rows == now and first >= now:
            return 404, {"detail": "Invalid page."}
        more = f"http://x/?page={page + 1}" if first + size < rows else None
        return 200, {"count": rows, "next": more, "previous": None, "results": results[: max(rows - first, 0)]}

    with serving(1001, answer) as url:
        found = oe.cluster.partitions(DATASET, 2, base_url=url, api_key="demo")
        assert sum(it.rows for it in found) == rows
        rows = now
        for part in found:
            with pytest.raises(oe.IncompleteError, match="the plan has 1,000 rows, and page") as raised:
                part.read()
            assert "the delivered rows are not the whole dataset" in (raised.value.hint or "")


def test_change_within_a_partition_is_an_error() -> None:
    def answer(page: int, size: int, results: list[dict[str, object]]) -> tuple[int, object]:
        if page != 4:
            return 200, None
        # The last row of the page moved to another one.
        more = f"http://x/?page={page + 1}"
        return 200, {"count": 1000, "next": more, "previous": None, "results": results[:-1]}

    with serving(1000, answer) as url:
        found = oe.cluster.partitions(DATASET, 5, base_url=url, api_key="demo")
        with pytest.raises(oe.IncompleteError, match="page 4 is short: 99 rows where the others have 100"):
            found[0].read()
        assert found[1].read().num_rows == 500


def test_repeated_row_is_an_error_within_a_partition() -> None:
    with serving(1000, repeating) as url:
        found = oe.cluster.partitions(DATASET, 5, base_url=url, api_key="demo")
        with pytest.raises(oe.IncompleteError):
            found[0].read()
        # Nobody sees both rows here: the engine counts the distinct ids.
        found = oe.cluster.partitions(DATASET, 2, columns=["id"], base_url=url, api_key="demo")
        seen = ids(found)
        assert not_distinct(len(seen), len(set(seen)), None) == "1,000 rows with 999 distinct ids"


def test_share_divides_the_rate(demo: oe.Demo) -> None:
    api = {"base_url": demo.url, "api_key": "demo"}
    with pytest.raises(oe.UsageError, match="rate_limit"):
        oe.cluster.partitions(demo.dataset, share=4, **api)
    found = oe.cluster.partitions(demo.dataset, 4, share=4, rate_limit="40/s", **api)
    # 4 pages at 10 requests a second.
    assert found[0].read().summary.seconds > 0.2


@pytest.mark.parametrize("pages", [0, -1, True, "2"])
def test_number_of_pages_is_checked(pages: object) -> None:
    with pytest.raises(oe.UsageError, match="`pages` is"):
        oe.cluster.partitions(DATASET, pages, api_key="demo")  # type: ignore[arg-type]


def test_texts_become_options() -> None:
    texts = {
        "Pages_Per_Partition": "10",
        "page_size": "50",
        "timeout": "2.5",
        "allow_http": "TRUE",
        "concurrency": "auto",
        "agent": "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e",
        "version": "3",
        "api_key_file": "/run/secrets/key",
    }
    assert options_of_texts(texts) == (
        10,
        {
            "page_size": 50,
            "timeout": 2.5,
            "allow_http": True,
            "concurrency": "auto",
            "agent": "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e",
            "version": 3,
            "api_key_file": "/run/secrets/key",
        },
    )
    assert options_of_texts({}) == (200, {})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("page_sizes", "5", "there is no option 'page_sizes'\n  hint: did you mean 'page_size'?"),
        ("filter", ".a", "there is no option 'filter'\n  hint: columns are chosen by the schema, and rows by the engine"),
        ("page_size", "many", "the option 'page_size' is 'many': give a whole number"),
        ("timeout", "", "the option 'timeout' is '': give a number"),
        ("allow_http", "1", "the option 'allow_http' is '1': give true or false"),
    ],
)
def test_wrong_texts_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(oe.UsageError) as raised:
        options_of_texts({name: text})
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "ovr_canary"),
        ("API_KEY", "canary"),
        ("apikey", "canary"),
        ("token", "canary"),
        ("key", "canary"),
        ("password", "canary"),
        ("Authorization", "Bearer canary"),
        ("agent", "ovr_canary"),
        ("api_key_file", "ovr_canary"),
        ("base_url", "https://user:canary@api.example.org"),
    ],
)
def test_options_with_credentials_are_refused(name: str, value: str) -> None:
    with pytest.raises(oe.UsageError, match="may hold a credential") as raised:
        options_of_texts({name: value})
    assert "canary" not in str(raised.value)
    with pytest.raises(oe.UsageError, match="may hold a credential"):
        refuse_credentials({name: value})


@pytest.mark.parametrize(("name", "library"), [("spark", "pyspark"), ("ray", "ray")])
def test_missing_engine_names_the_extra(name: str, library: str) -> None:
    if importlib.util.find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    with pytest.raises(ImportError, match=rf"is not installed: pip install 'overmind-export\[{name}\]'"):
        getattr(oe, name)
