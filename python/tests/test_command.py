"""The command that the wheel installs is the binary: the same exit codes, messages, pipes and signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import overmind_export as oe

MODULE = [sys.executable, "-m", "overmind_export"]


@pytest.fixture
def script() -> list[str]:
    """The script that `pip install` has made."""
    return [str(Path(sys.executable).with_name("overmind-export"))]


def ran(program: list[str], *arguments: str, **options: object) -> tuple[int, str, str]:
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]
    error = re.sub(r'"timestamp":"[^"]*"', "", done.stderr)
    return done.returncode, done.stdout, error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["export", "--help"],
        ["man"],
        [],
        ["export"],
        ["export", "x", "-o", "y", "--log-format", "json"],
        ["export", "triage-eval", "-o", "rows.parquet"],
        ["verify", "missing"],
        ["snapshot", "--config", "missing.toml"],
        ["datasets", "--base-url", "http://127.0.0.1:9"],
        ["completions", "bash"],
        ["export", "\udcff", "-o", "\udcfe"],
    ],
    ids=" ".join,
)
def test_command_is_the_binary(
    tmp_path: Path, command: str, script: list[str], arguments: list[str]
) -> None:
    binary = ran([command], *arguments, cwd=tmp_path)
    assert ran(script, *arguments, cwd=tmp_path) == binary
    assert ran(MODULE, *arguments, cwd=tmp_path) == binary


def connected(demo: oe.Demo) -> dict[str, str]:
    return {**os.environ, "OVERMIND_LAB_BASE_URL": demo.url, "OVERMIND_LAB_API_KEY": "demo"}


def test_command_exports_the_same_bytes(
    tmp_path: Path, command: str, script: list[str], demo: oe.Demo
) -> None:
    for name, program in [("a.parquet", [command]), ("b.parquet", script)]:
        code, _, error = ran(program, "export", demo.dataset, "-o", name, cwd=tmp_path, env=connected(demo))
        assert (code, Path(tmp_path, name).exists()) == (0, True), error
    assert Path(tmp_path, "a.parquet").read_bytes() == Path(tmp_path, "b.parquet").read_bytes()


def test_closed_pipe_ends_the_command_quietly(script: list[str], demo: oe.Demo) -> None:
    with subprocess.Popen(
        [*script, "export", demo.dataset, "-o", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=connected(demo),
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b'{"id":')
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, error) == (0, b"")


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_standard_streams(
    tmp_path: Path, command: str, script: list[str], demo: oe.Demo, closed: int
) -> None:
    def run(program: list[str]) -> tuple[int, bytes | None, bytes | None]:
        done = subprocess.run(
            [*program, "export", demo.dataset, "-o", "-", "--limit", "3"],
            capture_output=True, env=connected(demo), cwd=tmp_path, preexec_fn=lambda: os.close(closed),
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr.partition(b" in ")[0]

    assert run(script) == run([command])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_command(
    tmp_path: Path, script: list[str], slow: oe.Demo, number: signal.Signals
) -> None:
    code, error = signalled(script, slow, tmp_path, number)
    assert code == 128 + number and f"interrupted by {number.name}" in error
    # Nothing partial is visible.
    assert not (tmp_path / "rows.parquet").exists()


def test_ignored_signal_stays_ignored(tmp_path: Path, script: list[str], slow: oe.Demo) -> None:
    # As `nohup` starts it. Only the second signal ends it.
    ignore: Callable[[], object] = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    code, _ = signalled(script, slow, tmp_path, signal.SIGINT, signal.SIGTERM, preexec_fn=ignore)
    assert code == 143


def signalled(
    program: list[str], demo: oe.Demo, folder: Path, *numbers: signal.Signals, preexec_fn: Callable[[], object] | None = None
) -> tuple[int, str]:  # fmt: skip
    """Starts an export, and sends it signals once it has sent requests."""
    before = demo.requests
    with subprocess.Popen(
        [*program, "export", demo.dataset, "-o", "rows.parquet"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=connected(demo), cwd=folder, preexec_fn=preexec_fn,
    ) as process:  # fmt: skip
        try:
            while demo.requests == before:
                assert process.poll() is None
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.05)
            for number in numbers:
                process.send_signal(number)
            _, error = process.communicate(timeout=20)
        finally:
            process.kill()
    return process.returncode, error
