"""A server that stands before an object store and throttles, is slow, or is gone for a while."""

import http.client
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class TroubledServer:
    """Passes every request on, and every answer back; ends with the block.

    Attributes:
        busy: share of the requests that are answered by 503; of half of them after they were carried out.
        delay: seconds before an answer.
        refused: how many requests were answered by 503.
    """

    def __init__(self, endpoint: str) -> None:
        self.busy, self.delay, self.refused = 0.0, 0.0, 0
        self._behind = urlsplit(endpoint).netloc
        self._chance = random.Random(0)
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.come()
        return self

    def __exit__(self, *error: object) -> None:
        self.go()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def come(self) -> None:
        """Listen, where it did before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def go(self) -> None:
        """Be gone: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(owner.delay)
                with owner._lock:
                    busy = owner._chance.random() < owner.busy
                    carried_out = owner._chance.random() < 0.5
                    owner.refused += busy
                if not busy or carried_out:
                    found = owner._passed_on(self.command, self.path, body, dict(self.headers))
                self._send(*((503, {}, _SLOW_DOWN) if busy else found))

            def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in (
                        "content-length",
                        "connection",
                        "transfer-encoding",
                        "date",
                        "server",
                    ):
                        self.send_header(name, value)
                length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        return Handler

    def _passed_on(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._behind, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()
