"""The examples of the guide run as they are written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import overmind_export as oe

PROJECT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.consumer("duckdb", "pandas", "polars", "pyarrow")
@pytest.mark.parametrize("page", ["src/guide/python.md", "src/guide/json_columns.md", "python/README.md"])
def test_examples_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: oe.Demo
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVERMIND_LAB_BASE_URL", demo.url)
    monkeypatch.setenv("OVERMIND_LAB_API_KEY", "demo")
    import duckdb
    import polars
    import pyarrow

    names = {"ID": demo.dataset, "duckdb": duckdb, "pl": polars, "pa": pyarrow}
    text = (PROJECT / page).read_text()
    # The id of an example is of no dataset.
    text = text.replace('"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"', "ID")
    blocks = BLOCK.findall(text)
    assert blocks
    for block in blocks:
        for statement in ast.parse(block, page).body:
            if isinstance(statement, ast.Expr):
                shown = eval(compile(ast.Expression(statement.value), page, "eval"), names)
                # A notebook shows the value. DuckDB runs a query only then.
                for value in shown if isinstance(shown, tuple) else (shown,):
                    repr(value)
            else:
                exec(compile(ast.Module([statement], []), page, "exec"), names)
