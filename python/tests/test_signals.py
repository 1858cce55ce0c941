"""Ctrl-C and forks. Each case is a process of its own."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import overmind_export as oe


#: A call may need this long to end after Ctrl-C.
SECONDS = 2.0

BEGIN = """
import sys, time
import overmind_export as oe
client = oe.Client(base_url=sys.argv[1], api_key="demo", concurrency=1)
dataset = sys.argv[2]
"""
END = """
try:
    call()
except KeyboardInterrupt:
    interrupted = time.monotonic()
else:
    raise SystemExit("the call ended")
# The next call works.
assert client.read(dataset, limit=1).num_rows == 1
print("clean", flush=True)
"""
READY = "print('ready', flush=True)"


def interrupted(demo: oe.Demo, call: str, *more: str) -> None:
    """Runs a program, sends SIGINT while it waits, and expects a clean KeyboardInterrupt soon."""
    program = f"{BEGIN}\n{call}\n{END}"
    arguments = [sys.executable, "-X", "dev", "-c", program, demo.url, demo.dataset, *more]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # The call is in its wait: the first answers take half a second each.
            time.sleep(0.7)
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
            took = time.monotonic() - sent
        finally:
            process.kill()
    assert (out, process.returncode) == ("clean\n", 0), err
    assert err == ""
    # The next call takes half a second, too.
    assert took < SECONDS + 1.5


@pytest.mark.parametrize(
    "call",
    [
        "client.read(dataset)",
        "client.export(dataset, sys.argv[3])",
        "[None for batch in client.stream(dataset)]",
        "[client.datasets() for _ in range(100)]",
    ],
)
def test_ctrl_c_ends_a_call(tmp_path: Path, slow: oe.Demo, call: str) -> None:
    interrupted(slow, f"def call():\n    {READY}\n    {call}", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("module", "call"),
    [
        pytest.param(module, call, marks=pytest.mark.consumer(*libraries))
        for module, call, *libraries in [
            ("pyarrow", "client.stream(dataset).to_arrow()", "pyarrow"),
            ("pyarrow", "module.table(client.stream(dataset))", "pyarrow"),
            ("polars", "client.stream(dataset).to_polars()", "polars"),
            ("polars", "module.DataFrame(client.stream(dataset))", "polars"),
            ("polars", "client.scan(dataset).collect()", "polars"),
            ("pandas", "client.stream(dataset).to_pandas()", "pandas", "pyarrow"),
            ("duckdb", "client.stream(dataset).to_duckdb().fetchall()", "duckdb"),
            ("duckdb", "stream = client.stream(dataset); module.sql('select count(*) from stream').fetchall()", "duckdb"),
        ]
    ],
)  # fmt: skip
def test_ctrl_c_inside_another_library(slow: oe.Demo, module: str, call: str) -> None:
    # Python may run the handler of the signal a few instructions after the library's own exception. Polars raises a
    # KeyboardInterrupt of its own before, in every `collect`.
    if "scan" in call and importlib.import_module("polars").__version__ < "2":
        # Before 2.0, `collect` of Polars makes the interrupt a ComputeError.
        return
    caught = "BaseException" if "collect" in call else "Exception"
    call = f"""
import {module} as module
def call():
    {READY}
    try:
        {call}
    except {caught} as error:
        for _ in range(1000):
            time.sleep(0.001)
        if "Query interrupted" in str(error):
            # DuckDB has taken the signal itself.
            raise KeyboardInterrupt from error
        raise
"""
    interrupted(slow, call)


FORK = """
import os
before = client.stream(dataset)
next(before)
child = os.fork()
if child == 0:
    try:
        next(before)
    except oe.UsageError as error:
        assert "parent process" in str(error)
        print(client.read(dataset, limit=3).num_rows, flush=True)
        os._exit(0)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(sum(batch.num_rows for batch in before), flush=True)
"""


def test_forked_child_raises_instead_of_hanging(demo: oe.Demo) -> None:
    arguments = [sys.executable, "-c", BEGIN + FORK, demo.url, demo.dataset]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("3\n1000\n", "", 0)


def test_other_owner_of_descriptor_gets_signals(demo: oe.Demo) -> None:
    program = BEGIN + """
import asyncio, os, signal

async def main():
    got = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, got.set)
    client.stream(dataset).close()
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(got.wait(), 5)
    print("got", flush=True)

asyncio.run(main())
"""
    arguments = [sys.executable, "-c", program, demo.url, demo.dataset]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.returncode) == ("got\n", 0), done.stderr


def test_import_is_light() -> None:
    program = """
import sys
import overmind_export as oe
# Not even the extension module: names are imported when they are used.
print(sorted(name for name in sys.modules if name.startswith("overmind_export")))
oe.Client(api_key="demo", base_url="http://127.0.0.1:9")
heavy = {"pandas", "polars", "pyarrow", "duckdb", "numpy", "asyncio", "logging", "socket", "http"}
print(heavy & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['overmind_export']\nset()\n", "")


@pytest.mark.consumer("polars")
def test_calls_work_in_a_handler_of_the_end(demo: oe.Demo) -> None:
    program = BEGIN + """
import atexit
import polars  # It cannot be imported later.

def last():
    print(client.read(dataset, limit=3).num_rows, client.scan(dataset, limit=3).collect().height, flush=True)

atexit.register(last)
"""
    arguments = [sys.executable, "-c", program, demo.url, demo.dataset]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("3 3\n", "", 0)
