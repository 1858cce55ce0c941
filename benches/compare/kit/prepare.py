"""Makes what is missing in BENCH_DIR: programs, Python environments, page files. A second run reuses all of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import places, servers

APT_PACKAGES = ["nginx-light", "curl", "time"]
TIME = "/usr/bin/time"


def step(text):
    print(f"setting up: {text}", file=sys.stderr, flush=True)


def run(command, **settings):
    """Run a step of the set-up. Its output goes to standard error: standard output is for the tables."""
    command = [str(part) for part in command]
    status = subprocess.run(command, stdout=sys.stderr, **settings).returncode
    if status != 0:
        raise SystemExit(f"The set-up failed with exit code {status}: {' '.join(command)}")


def programs():
    if servers.find_nginx() and shutil.which("curl") and os.access(TIME, os.X_OK):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(f"nginx, curl and GNU time are needed. On Debian: apt-get install {' '.join(APT_PACKAGES)}")
    step("apt-get install " + " ".join(APT_PACKAGES))
    run(["apt-get", "update", "-q"])
    run(["apt-get", "install", "-yq", *APT_PACKAGES])


def python_environment(requirements):
    """A virtual environment with exactly these packages. A copy of the requirements marks a complete one."""
    python = places.python_of(requirements.stem)
    folder = python.parent.parent
    mark = folder / "requirements.txt"
    if mark.is_file() and mark.read_bytes() == requirements.read_bytes():
        return
    step(f"Python environment {requirements.stem}")
    run([sys.executable, "-m", "venv", "--clear", folder])
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    run([*pip, "-r", requirements])
    if "duckdb_extension_httpfs" in requirements.read_text():
        # Copies the extension from its package to where DuckDB looks for it.
        import_extension = "from duckdb_extensions import import_extension; import_extension('httpfs')"
        run([python, "-c", import_extension], env=places.contestant_environment())
    shutil.copy(requirements, mark)


def cargo(what, manifest, *options):
    """A release build in BENCH_DIR; cargo does nothing if it is up to date."""
    step(f"cargo build --release of {what}")
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", manifest, *options]
    run(command, env={**os.environ, "CARGO_TARGET_DIR": str(places.TARGET)})


def binary(given):
    if given:
        path = Path(given).resolve()
        if not os.access(path, os.X_OK):
            raise SystemExit(f"{path} is no program")
        return path
    cargo("overmind-export", places.PROJECT / "Cargo.toml", "--bin", "overmind-export")
    return places.release_binary("overmind-export")


def page_files(dataset):
    if dataset.expected.is_file():
        return
    step(f"{dataset.rows:,} rows as page files, {dataset.page_size} rows each")
    shutil.rmtree(dataset.folder, ignore_errors=True)
    maker = places.HERE / "data" / "pages.py"
    arguments = [dataset.folder, dataset.id, dataset.base_url, dataset.rows, dataset.page_size, dataset.version]
    run([places.python_of("check"), maker, *arguments])


def everything(tables, given_binary):
    """Prepare all that the tables need and return the path of the program to compare."""
    for folder in (places.HOME, places.RESULTS, places.PAGES / "near", places.PAGES / "far"):
        folder.mkdir(parents=True, exist_ok=True)
    programs()
    for requirements in sorted((places.HERE / "requirements").glob("*.txt")):
        python_environment(requirements)
    cargo("the limits", places.HERE / "limits" / "Cargo.toml")
    path = binary(given_binary)
    for table in tables:
        for dataset in table.datasets:
            page_files(dataset)
    return path
