"""Exports to store emulators of other projects: moto for S3, azurite for Azure Blob Storage.

    stores.py BINARY MOTO_PYTHON AZURITE

Each server starts on a free loopback port and is always stopped at the end. The check verifies each
export, reads it back with an independent client, and compares it with a local export of the same dataset.
It also lists the uploads of a killed run, before and after the next run.
"""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

ROWS = 20_000
BUCKET = "exports"
# The built-in account of azurite. Its public key is in the documentation of every Azure emulator.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def say(text):
    print(f"    {text}", flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command, port, **options):
    """Runs a server until the block ends, then stops it and its child processes."""
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **options
    )
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if server.poll() is not None:
                sys.exit(f"{command[0]} ended with {server.returncode}")
            time.sleep(0.1)
        else:
            sys.exit(f"{command[0]} does not listen on port {port}")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


class Tool:
    """Runs the command with the embedded API and one store."""

    def __init__(self, binary, api, dataset, folder, variables):
        self.binary, self.api, self.dataset, self.folder = binary, api, dataset, folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "OVERMIND_LAB_BASE_URL": api,
            "OVERMIND_LAB_API_KEY": "demo",
            **variables,
        }

    def start(self, *arguments):
        return subprocess.Popen(
            [self.binary, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, code=0):
        run = self.start(*arguments)
        out, err = run.communicate(timeout=300)
        assert run.returncode == code, f"{arguments}: exit {run.returncode}\n{out}{err}"
        return out

    def export(self, output, *arguments, code=0):
        return self.run("export", self.dataset, "-o", output, *arguments, code=code)


def same(table, truth, what):
    assert table.equals(truth), f"{what} differs from the local export"
    say(f"{what}: {table.num_rows} rows, equal to the local export")


def promises(tool, scheme):
    """Checks the promises that hold for every store."""
    prefix = f"{scheme}://{BUCKET}/nightly/"
    tool.export(prefix, "--rows-per-file", "6000")
    assert "ok, 20,000 rows" in tool.run("verify", prefix)
    tool.export(prefix, code=73)
    tool.export(prefix, "--overwrite", "--rows-per-file", "5000")
    assert "ok, 20,000 rows" in tool.run("verify", prefix)
    assert "3 of 20,000 rows" in tool.run("preview", prefix, "-n", "3")
    single = f"{scheme}://{BUCKET}/single/rows.parquet"
    tool.export(single)
    tool.export(single, code=73)
    tool.export(single, "--overwrite")
    assert "ok, 20,000 rows" in tool.run("verify", single)
    # The file is large enough for several blocks.
    lines = f"{scheme}://{BUCKET}/single/rows.jsonl"
    tool.export(lines, "--manifest")
    assert "ok, 20,000 rows" in tool.run("verify", lines)
    say(f"{scheme}: export, overwrite, verify and preview, a prefix and single objects")


def workers(tool, scheme, listed):
    """Checks an export by many workers: nothing is visible before the commit, and an end leaves nothing behind."""
    prefix = f"{scheme}://{BUCKET}/workers/"
    begin = ["begin", tool.dataset, "-o", prefix, "--ranges", "3", "--rows-per-file", "3000"]
    for end in ("abort", "commit"):
        tool.run(*begin)
        tool.run(*begin)
        tool.run("part", "-o", prefix, "--range", "2/3")
        tool.run("commit", "-o", prefix, code=65)
        for number in ("3/3", "1/3", "2/3"):
            tool.run("part", "-o", prefix, "--range", number)
        assert "3 of 3 ranges finished" in tool.run("status", "-o", prefix)
        visible = [name for name in listed() if "workers/part-" in name]
        assert not visible, f"visible before the commit: {visible}"
        tool.run(end, "-o", prefix)
        tool.run("part", "-o", prefix, "--range", "1/3", code=66 if end == "abort" else 75)
        left = [name for name in listed() if "workers" in name]
        assert not [name for name in left if ".partial" in name], left
        assert (left == []) == (end == "abort"), left
    assert "ok, 20,000 rows" in tool.run("verify", prefix)
    tool.run("commit", "-o", prefix)
    say(f"{scheme}: an export by three workers, committed and aborted")


class Proxy(http.server.ThreadingHTTPServer):
    """A proxy that handles the first request whose method and path match a pattern in a special way.

    If `loses` is set, the request is served, but its answer is replaced by a 503. Otherwise the request is held
    back until `free` is set, and then delivered even if the client has disconnected. All other requests pass at
    once.
    """

    daemon_threads = True

    def __init__(self, port, special, loses=False):
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.store, self.lock = port, threading.Lock()
        self.special, self.loses = special, loses
        self.held, self.free, self.delivered = threading.Event(), threading.Event(), threading.Event()
        self.status = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        proxy, special = self.server, False
        if re.search(proxy.special, f"{self.command} {self.path}"):
            with proxy.lock:
                special = not proxy.held.is_set()
                proxy.held.set()
        if special and not proxy.loses and not proxy.free.wait(120):
            # The check does not deliver this request.
            self.close_connection = True
            return
        store = http.client.HTTPConnection("127.0.0.1", proxy.store, timeout=60)
        # Keep the client's Host header, because the signature covers it.
        store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            store.putheader(name, value)
        store.endheaders(body)
        answer = store.getresponse()
        content = answer.read()
        if special:
            proxy.status = answer.status
            proxy.delivered.set()
        if special and proxy.loses:
            store.close()
            with contextlib.suppress(OSError):
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
            return
        with contextlib.suppress(OSError):
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "date", "server", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = answer.getheader("content-length", "0") if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)
        store.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on


def through(tool, proxy, variable):
    environment = {**tool.environment, variable: f"http://127.0.0.1:{proxy.server_port}"}
    return Tool(tool.binary, tool.api, tool.dataset, tool.folder, environment)


def pending(tool, port, scheme, variable, listed):
    """Kills runs before and after the point of no return. Another process continues from the store alone."""
    complete = r"POST .*[?&]uploadId=" if scheme == "s3" else r"PUT .*/part-.*comp=blocklist"
    for number, (special, code) in enumerate(
        [(r"PUT .*/commit-", 0), (complete, 73), (r"PUT .*\d\.manifest\.json(\?|$)", 73)]
    ):
        prefix = f"{scheme}://{BUCKET}/pending{number}/"
        proxy = Proxy(port, special)
        run = through(tool, proxy, variable).start("export", tool.dataset, "-o", prefix, "--rows-per-file", "3000")
        assert proxy.held.wait(60), f"{special} was not requested"
        if number == 0:
            visible = [name for name in listed() if f"pending{number}/part-" in name]
            assert not visible, f"visible before the commit: {visible}"
        run.kill()
        run.communicate()
        tool.export(prefix, "--rows-per-file", "3000", code=code)
        assert "ok, 20,000 rows" in tool.run("verify", prefix)
        proxy.close()
    say(f"{scheme}: pending parts of a killed run are completed by another process")
    for output in [f"{scheme}://{BUCKET}/lost/", f"{scheme}://{BUCKET}/lost.jsonl"]:
        complete = r"POST .*[?&]uploadId=" if scheme == "s3" else r"PUT .*/lost.*comp=blocklist"
        proxy = Proxy(port, complete, loses=True)
        through(tool, proxy, variable).export(output, "--manifest" if "." in output else "--overwrite")
        assert proxy.delivered.is_set(), "no upload was completed"
        assert "ok, 20,000 rows" in tool.run("verify", output)
        proxy.close()
    say(f"{scheme}: a completion whose answer is lost is recognized")


def late(tool, port, scheme, variable):
    """Checks a record of a killed run that arrives after another run has published."""
    prefix = f"{scheme}://{BUCKET}/late/"
    for more in ([], ["--overwrite"]):
        proxy = Proxy(port, r"PUT .*/late\.manifest\.json(\?|$)")
        slow = through(tool, proxy, variable)
        run = slow.start("export", tool.dataset, "-o", prefix, *more)
        assert proxy.held.wait(60), "no record was uploaded"
        run.kill()
        run.communicate()
        tool.export(prefix, "--restart", "--overwrite", "--rows-per-file", "7000")
        proxy.free.set()
        assert proxy.delivered.wait(60), "the late request was not delivered"
        assert proxy.status in (409, 412), f"the late request was answered with {proxy.status}"
        assert "ok, 20,000 rows" in tool.run("verify", prefix)
        proxy.close()
    say(f"{scheme}: a late record replaces neither a new nor an overwritten export")


def moto(tool, port, truth):
    url = f"http://127.0.0.1:{port}/{BUCKET}"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
    promises(tool, "s3")
    late(tool, port, "s3", "AWS_ENDPOINT_URL")

    def listed():
        with urllib.request.urlopen(f"{url}?list-type=2") as answer:
            return re.findall("<Key>(.*?)</Key>", answer.read().decode())

    workers(tool, "s3", listed)
    pending(tool, port, "s3", "AWS_ENDPOINT_URL", listed)
    files = pyarrow.fs.S3FileSystem(
        access_key="test", secret_key="test", region="us-east-1", endpoint_override=f"http://127.0.0.1:{port}"
    )
    # The prefix holds only parts.
    table = pyarrow.dataset.dataset(f"{BUCKET}/nightly", filesystem=files).to_table()
    same(table, truth, "pyarrow's S3 client, the prefix")
    # The way that the guide recommends for readers that must not see a mix of two exports.
    manifest = json.load(files.open_input_stream(f"{BUCKET}/nightly.manifest.json"))
    names = [f"{BUCKET}/nightly/{part['path']}" for part in manifest["parts"]]
    same(pyarrow.dataset.dataset(names, filesystem=files).to_table(), truth, "the parts in the record")
    table = pyarrow.parquet.read_table(f"{BUCKET}/single/rows.parquet", filesystem=files)
    same(table, truth, "pyarrow's S3 client, the object")

    def uploads():
        with urllib.request.urlopen(f"{url}?uploads") as answer:
            return answer.read().decode().count("<UploadId>")

    def journalled():
        return any("/upload-" in name for name in listed())

    for output in [f"s3://{BUCKET}/killed/rows.jsonl", f"s3://{BUCKET}/killed/rows/"]:
        more = ["--format", "jsonl"] if output.endswith("/") else []
        run = tool.start("export", tool.dataset, "-o", output, "--rate-limit", "100/s", *more)
        for _ in range(600):
            # From now on the journal contains the upload, so the next run can find it.
            if journalled():
                break
            time.sleep(0.05)
        run.kill()
        run.communicate()
        left = uploads()
        assert left == 1, f"{left} uploads after SIGKILL"
        tool.export(output, *more)
        assert uploads() == 0, f"{uploads()} uploads after the next run"
        say(f"{output}: {left} upload remained after SIGKILL, none after the next run")
    stray = [key for key in listed() if "_overmind" in key or ".partial" in key]
    assert not stray, f"control objects remain: {stray}"
    say("no upload and no control object remains")


def azure_request(port, method, path, query):
    """Sends a request with a shared-key signature. Supports only the requests of this check."""
    date = email.utils.formatdate(usegmt=True)
    headers = {"x-ms-date": date, "x-ms-version": "2023-11-03"}
    resource = f"/{ACCOUNT}/{ACCOUNT}/{path}" + "".join(f"\n{k}:{v}" for k, v in sorted(query.items()))
    text = "\n".join([method, *[""] * 11, *[f"{k}:{v}" for k, v in sorted(headers.items())], resource])
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    address = f"http://127.0.0.1:{port}/{ACCOUNT}/{path}?" + "&".join(f"{k}={v}" for k, v in query.items())
    request = urllib.request.Request(address, method=method, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def azurite(tool, port, truth):
    azure_request(port, "PUT", BUCKET, {"restype": "container"})
    promises(tool, "az")
    late(tool, port, "az", "AZURITE_BLOB_STORAGE_URL")

    def listed():
        found = azure_request(port, "GET", BUCKET, {"comp": "list", "restype": "container"}).decode()
        return re.findall("<Name>(.*?)</Name>", found)

    workers(tool, "az", listed)
    pending(tool, port, "az", "AZURITE_BLOB_STORAGE_URL", listed)
    names = listed()
    assert not [name for name in names if "_overmind" in name or ".partial" in name], names
    # pyarrow's client lists with an interface that azurite does not support. Download the parts instead.
    parts = sorted(name for name in names if re.match(r"nightly/part-.*\.parquet", name))
    assert len(parts) == 4, names
    tables = [
        pyarrow.parquet.read_table(pyarrow.BufferReader(azure_request(port, "GET", f"{BUCKET}/{part}", {})))
        for part in parts
    ]
    same(pyarrow.concat_tables(tables), truth, "plain downloads of the parts")


@contextlib.contextmanager
def api(binary):
    command = [binary, "demo", "--serve", "--rows", str(ROWS)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().split()[1]
        dataset = server.stdout.readline().split()[0]
        yield url, dataset
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


def main():
    binary, moto_python, azurite_command = (str(Path(path).absolute()) for path in sys.argv[1:])
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url, dataset = stack.enter_context(api(binary))
        local = Tool(binary, url, dataset, folder, {})
        local.export("truth.parquet")
        truth = pyarrow.parquet.read_table(f"{folder}/truth.parquet")

        port = free_port()
        with running([moto_python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
            variables = {
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            }
            moto(Tool(binary, url, dataset, folder, variables), port, truth)

        port = free_port()
        command = [azurite_command, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        command += ["--location", f"{folder}/azurite", "--disableTelemetry", "--silent"]
        with running([*command, "--skipApiVersionCheck"], port):
            variables = {
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
                "AZURE_STORAGE_USE_EMULATOR": "true",
                "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}",
            }
            azurite(Tool(binary, url, dataset, folder, variables), port, truth)


if __name__ == "__main__":
    # Turn SIGTERM into an exception, so that all started servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
