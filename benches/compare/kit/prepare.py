"""Prepares a run: installs programs, creates Python environments, builds binaries and generates page files.

Later runs reuse all of them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import places, servers
from .tables import IN_PYTHON

APT_PACKAGES = ["nginx-light", "curl", "time"]
TIME = "/usr/bin/time"


def step(text):
    print(f"setting up: {text}", file=sys.stderr, flush=True)


def run(command, **settings):
    """Run a set-up command. Its output goes to standard error, because standard output is for the tables."""
    command = [str(part) for part in command]
    status = subprocess.run(command, stdout=sys.stderr, **settings).returncode
    if status != 0:
        raise SystemExit(f"A set-up command failed with exit code {status}: {' '.join(command)}")


def programs():
    if servers.find_nginx() and shutil.which("curl") and os.access(TIME, os.X_OK):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(f"Install nginx, curl and GNU time. On Debian: apt-get install {' '.join(APT_PACKAGES)}")
    step("apt-get install " + " ".join(APT_PACKAGES))
    run(["apt-get", "update", "-q"])
    run(["apt-get", "install", "-yq", *APT_PACKAGES])


def java():
    """Install the Java runtime that Spark needs."""
    if shutil.which("java"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit("Install Java 17. On Debian: apt-get install openjdk-17-jre-headless")
    step("apt-get install openjdk-17-jre-headless")
    run(["apt-get", "update", "-q"])
    run(["apt-get", "install", "-yq", "--no-install-recommends", "openjdk-17-jre-headless"])


def python_environment(requirements):
    """Create a virtual environment with these packages. A copy of the requirements marks a complete one."""
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
        # Copy the extension from its package to the extension folder of DuckDB.
        import_extension = "from duckdb_extensions import import_extension; import_extension('httpfs')"
        run([python, "-c", import_extension], env=places.contestant_environment())
    shutil.copy(requirements, mark)


def cargo(name, manifest, *options):
    """Make a release build in BENCH_DIR. If it is up to date, cargo does nothing."""
    step(f"cargo build --release of {name}")
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", manifest, *options]
    run(command, env={**os.environ, "CARGO_TARGET_DIR": str(places.TARGET)})


def binary(given):
    if given:
        path = Path(given).resolve()
        if not os.access(path, os.X_OK):
            raise SystemExit(f"Cannot run {path}: it does not exist or is not executable. Check --binary.")
        return path
    cargo("overmind-export", places.PROJECT / "Cargo.toml", "--bin", "overmind-export")
    return places.release_binary("overmind-export")


def python_package(environments):
    """Build the wheel of this checkout in release mode, and install it into these environments."""
    step("Python package of overmind-export")
    python, wheels = places.python_of("frames"), places.TARGET / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    manifest = places.PROJECT / "python" / "Cargo.toml"
    build = [python, "-m", "maturin", "build", "--release", "--locked", "--quiet", "--manifest-path", manifest]
    run([*build, "--out", wheels], env={**os.environ, "CARGO_TARGET_DIR": str(places.TARGET)})
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall"]
    for environment in environments:
        run([places.python_of(environment), *install, *wheels.glob("*.whl")])


def page_files(dataset):
    if dataset.expected.is_file():
        return
    step(f"{dataset.rows:,} rows as page files, {dataset.page_size} rows each")
    shutil.rmtree(dataset.folder, ignore_errors=True)
    generator = places.HERE / "data" / "pages.py"
    arguments = [dataset.folder, dataset.id, dataset.base_url, dataset.rows, dataset.page_size, dataset.version]
    run([places.python_of("check"), generator, *arguments])


def everything(tables, given_binary):
    """Prepare all inputs of the tables. Return the path of the overmind-export to compare."""
    for folder in (places.HOME, places.RESULTS, places.PAGES / "near", places.PAGES / "far"):
        folder.mkdir(parents=True, exist_ok=True)
    programs()
    has_spark = any(table.kind == "spark" for table in tables)
    if has_spark:
        java()
    for requirements in sorted((places.HERE / "requirements").glob("*.txt")):
        if has_spark or requirements.stem != "spark":
            python_environment(requirements)
    cargo("the limit programs", places.HERE / "limits" / "Cargo.toml")
    path = binary(given_binary)
    in_python = {IN_PYTHON[table.kind] for table in tables if table.kind in IN_PYTHON}
    if in_python:
        python_package(sorted(in_python))
    for table in tables:
        for dataset in table.datasets:
            page_files(dataset)
    return path
