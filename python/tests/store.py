"""A small S3: it serves the files of a folder to readers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@contextmanager
def bucket(folder: Path, key: str) -> Iterator[str]:
    """Serves a folder as the bucket `b`, only to requests that are signed with this key id. Gives the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            name = unquote(url.path).removeprefix("/b").strip("/")
            if f"Credential={key}/" not in self.headers.get("Authorization", ""):
                self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            elif not name:
                query = parse_qs(url.query)
                prefix, cut = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
                self.answer(200, listing(folder, prefix, cut).encode())
            elif (folder / name).is_file():
                self.file((folder / name).read_bytes())
            else:
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        do_HEAD = do_GET

        def file(self, data: bytes) -> None:
            asked = self.headers.get("Range")
            if asked is None:
                return self.answer(200, data)
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin = int(first) if first else max(len(data) - int(last), 0)
            end = min(int(last) + 1, len(data)) if first and last else len(data)
            shown = f"bytes {begin}-{end - 1}/{len(data)}"
            self.answer(206, data[begin:end], ("Content-Range", shown))

        def answer(self, status: int, data: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            changed = ("Last-Modified", "Fri, 20 Nov 2026 02:00:00 GMT")
            for name, value in [("Content-Length", str(len(data))), ("ETag", '"e"'), changed, *headers]:
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def listing(folder: Path, prefix: str, cut: str) -> str:
    """The answer to a request for a list."""
    objects, prefixes = [], set()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(prefix):
            continue
        rest, found, _ = name[len(prefix) :].partition(cut or "\0")
        if found:
            prefixes.add(prefix + rest + cut)
        else:
            objects.append((name, path.stat().st_size))
    contents = "".join(
        f"<Contents><Key>{escape(name)}</Key><LastModified>2026-11-20T02:00:00.000Z</LastModified>"
        f'<ETag>"e"</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>'
        for name, size in objects
    )
    common = "".join(
        f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(prefixes)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>b</Name>'
        f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(objects) + len(prefixes)}</KeyCount>"
        f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
    )
