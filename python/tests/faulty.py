"""A server with faults, in front of rows that it makes itself."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

DATASET = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"


def row(number: int) -> dict[str, object]:
    """A datapoint."""
    return {"id": str(uuid.UUID(int=number + 1)), "order": number, "input": {"n": number}}


Answer = Callable[[int, int, list[dict[str, object]]], tuple[int, object]]


class Server(ThreadingHTTPServer):
    """Says nothing about clients that close their connections."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving(rows: int, answer: Answer) -> Iterator[str]:
    """Serves rows. `answer` gets the page, the page size and the rows of the page. It returns status and body.

    A body of None stands for the page, and bytes are sent as they are. The rest of an iterator's body is sent as it
    comes.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise each body waits until the client acknowledges the headers.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            page, size = int(query.get("page", ["1"])[0]), int(query.get("page_size", ["100"])[0])
            first = (page - 1) * size
            results = [row(number) for number in range(first, min(first + size, rows))]
            status, body = answer(page, size, results)
            if body is None:
                more = f"http://x/?page={page + 1}" if first + size < rows else None
                body = {"count": rows, "next": more, "previous": None, "results": results}
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if isinstance(body, Iterator):
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in body:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
                return
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def repeating(page: int, size: int, results: list[dict[str, object]]) -> tuple[int, object]:
    """Page 3 has the first row of page 2 again, instead of its own."""
    if page == 3 and results:
        results[0] = row(size)
    return 200, None
