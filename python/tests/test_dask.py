"""The recipe for Dask, with its threads and its processes."""

from __future__ import annotations

from typing import Any

import overmind_export as oe
import pytest

from engines import block

pytestmark = [pytest.mark.long, pytest.mark.consumer("dask", "pandas", "pyarrow")]


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_recipe_of_the_guide_runs(scheduler: str, demo: oe.Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    monkeypatch.setenv("OVERMIND_LAB_BASE_URL", demo.url)
    monkeypatch.setenv("OVERMIND_LAB_API_KEY", "demo")
    names: dict[str, Any] = {"ID": demo.dataset, "oe": oe}
    with dask.config.set(scheduler=scheduler, **{"multiprocessing.context": "spawn"}):
        # More than one partition.
        exec(block("Dask").replace("(ID, ", "(ID, 7, "), names)
        frame = names["df"].compute()
    assert len(names["parts"]) == 8
    expected = oe.read(demo.dataset, columns=["id", "input"]).to_pandas()
    # Dask has a string type of its own.
    assert frame.to_dict("list") == expected.to_dict("list")
