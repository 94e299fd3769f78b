"""The server of `wsis view`: GET and HEAD of a few known paths, nothing that writes, on loopback unless told otherwise.

No part of a request becomes a path: images and chunks are numbers that are looked up. A request must name this server
by an address or a name of this machine, so that no other site's name can be made to mean it (DNS rebinding).
"""

import ipaddress
import re
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from data_contracts.errors import ArtefactMissingError, ConfigError, ContractError
from wsis.apps.live_run import LiveRun

_SECONDS = 30  # without a byte of a request, then a connection is closed
_JSON, _HTML = "application/json", "text/html; charset=utf-8"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Answer = tuple[str, bytes]
"""Media type and body."""


class ViewServer(ThreadingHTTPServer):
    """A server of one run; `serve_forever` runs it.

    Args:
        live: the run.
        host: address or name to listen at.
        port: 0: a free one.

    Raises:
        ConfigError: the host or port cannot be listened at.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, live: LiveRun, host: str = "127.0.0.1", port: int = 0) -> None:
        self.live, self.host = live, host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"--host, --port: expected a place to listen at, got {host} {port}: {error.strerror or error}"
            ) from error

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.server_address[1]}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Report an error, unless it only means that the browser closed the connection during an answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def names_this_server(header: str | None, host: str) -> bool:
    """Whether a Host header names this machine: by an address, as `localhost`, as `host`, or by its own name."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:\d{1,5})?", header or "")
    if found is None:
        return False
    name = found[1].strip("[]").lower()
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return name in {"localhost", host.lower(), socket.gethostname().lower()}


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "wsis", ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # every other method
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.close_connection = True  # a body that may follow is not read
        self._send(
            HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"only GET and HEAD\n", more={"Allow": "GET, HEAD"}
        )

    def _answer(self, body: bool) -> None:
        if not names_this_server(self.headers.get("Host"), self.server.host):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"this server has another name\n", body)
            return
        parts = urlsplit(self.path)
        try:
            found = self._found(parts.path)
        except ArtefactMissingError as error:
            self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", f"{error}\n".encode(), body)
            return
        except ContractError as error:
            told = f"{error}\n".encode()
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", told, body)
            return
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing here\n", body)
            return
        asked = parse_qs(parts.query).get("v", [""])[0]
        lasting = parts.path.startswith(("/chunk/", "/photo/")) and asked == self.server.live.version
        self._send(
            HTTPStatus.OK, *found, body, {"Cache-Control": "private, max-age=86400"} if lasting else {}
        )

    def _found(self, path: str) -> Answer | None:
        live = self.server.live
        if path == "/":
            return _HTML, live.page()
        if path == "/state.json":
            return _JSON, live.state()
        if path == "/gallery.json":
            return _JSON, live.index()
        if chunk := re.fullmatch(r"/chunk/([0-9]{1,7})\.json", path):
            return _JSON, live.chunk(int(chunk[1]))
        if photo := re.fullmatch(r"/photo/([0-9]{1,9})", path):
            return live.photograph(int(photo[1]))
        return None

    def _send(
        self,
        status: HTTPStatus,
        kind: str,
        data: bytes,
        body: bool = True,
        more: dict[str, str] | None = None,
    ) -> None:
        headers = {"Cache-Control": "no-store", **_HEADERS, **(more or {})}
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""
