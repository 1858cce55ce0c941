"""overmind-export runs as a child process, and this process reads its Arrow stream into a DataFrame.

The child reads the API key from the environment. The script prints the peak memory of the child. The kit adds
it to the peak of this process.
"""

import json
import resource
import subprocess

import pyarrow.ipc

from common import COLUMNS, parse_arguments, save_for_check

arguments = parse_arguments(("--binary", {"required": True}))
command = [
    arguments.binary, "export", arguments.dataset, "--base-url", arguments.base_url,
    "--output", "-", "--format", "arrow", "--quiet",
    "--page-size", str(arguments.page_size), "--columns", ",".join(COLUMNS),
]
child = subprocess.Popen(command, stdout=subprocess.PIPE)
table = pyarrow.ipc.open_stream(child.stdout).read_all()
if child.wait() != 0:
    raise SystemExit(f"overmind-export failed with exit code {child.returncode}")
if arguments.frame == "pandas":
    frame = table.to_pandas()
else:
    import polars

    frame = polars.from_arrow(table)
print(json.dumps({"child_peak_kb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}))
save_for_check(frame, arguments)
