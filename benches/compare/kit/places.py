"""The paths of the sources and of the generated files. All generated files are in BENCH_DIR."""

import os
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PROJECT = HERE.parent.parent

BENCH_DIR = Path(os.environ.get("BENCH_DIR") or Path(tempfile.gettempdir()) / "overmind-compare").resolve()
PAGES = BENCH_DIR / "pages"
OUTPUT = BENCH_DIR / "output"
RESULTS = BENCH_DIR / "results"
SERVERS = BENCH_DIR / "servers"
TARGET = BENCH_DIR / "target"
# The home folder of all contestants, so that they do not use your caches or your configuration.
HOME = BENCH_DIR / "home"


def python_of(environment):
    return BENCH_DIR / "venv" / environment / "bin" / "python"


def release_binary(name):
    return TARGET / "release" / name


def contestant_environment():
    """Return the environment variables for contestants."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OVERMIND_")}
    return {
        **inherited,
        "HOME": str(HOME),
        "XDG_CONFIG_HOME": str(HOME / ".config"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "OVERMIND_LAB_API_KEY": "bench-key",
    }
