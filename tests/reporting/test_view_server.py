"""`wsis view`: what it answers and refuses, and that it follows a run. Real requests over loopback."""

import http.client
import json
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from data_contracts.errors import ConfigError
from data_contracts.runs import save_run
from tests.reporting.gallery_run import IDS, gallery_run
from tests.runs.tiny_run import Process
from wsis.apps import live_run
from wsis.apps.live_run import LiveRun
from wsis.apps.view_server import ViewServer, names_this_server


@pytest.fixture
def built(tmp_path):
    return gallery_run(tmp_path / "store")


@pytest.fixture
def server(built, monkeypatch) -> Iterator[ViewServer]:
    monkeypatch.setattr(live_run, "LOOKS", 0.05)
    with LiveRun(built.run) as live, ViewServer(live) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        yield serving
        serving.shutdown()
        thread.join(20)
        assert not thread.is_alive()


def ask(
    server: ViewServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    try:
        connection.request(method, path, headers={} if host is None else {"Host": host})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_it_serves_the_page_and_what_the_page_asks_for(server, built):
    status, headers, page = ask(server, "/")
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert b'id="gallery" data-live="1"' in page and b'id="chunk-0"' not in page
    chunk = json.loads(ask(server, "/chunk/0.json?v=1")[2])
    assert len(chunk["pictures"]) == len(IDS)
    rows = json.loads(ask(server, "/gallery.json")[2])["images"]
    assert [row["name"] for row in rows] == IDS and all("waiting" not in row for row in rows)
    stored = built.run.images.read("train3", ("encoded",))["encoded"].tobytes()
    state = json.loads(ask(server, "/state.json")[2])
    assert state["status"] == "completed" and state["measured"] == 1
    status, headers, photo = ask(server, f"/photo/3?v={state['version']}")
    assert (status, headers["content-type"], photo) == (200, "image/png", stored)
    assert headers["cache-control"] == "private, max-age=86400"


def test_images_are_measured_while_somebody_looks(server):
    ask(server, "/state.json")
    until(lambda: json.loads(ask(server, "/state.json")[2])["measured"] == 1)
    assert "iou" in json.loads(ask(server, "/gallery.json")[2])["images"][0]


@pytest.mark.parametrize(
    "path",
    [
        "/chunk/1.json", "/chunk/-1.json", "/chunk/a.json", "/photo/8", "/photo/99999999999", "/photo/train0", "/runs",
        "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/photo/../../x", "//etc/passwd", "/report.html",
    ],
)  # fmt: skip
def test_nothing_else_is_there(server, path):
    status, _, body = ask(server, path)
    assert status == 404 and b"root:" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_writes(server, method):
    status, headers, _ = ask(server, "/", method)
    assert status == 405 and headers["allow"] == "GET, HEAD"


def test_head_has_the_headers_alone(server):
    status, headers, body = ask(server, "/", "HEAD")
    assert status == 200 and body == b"" and int(headers["content-length"]) == len(ask(server, "/")[2])


def test_a_name_of_another_site_is_refused(server):
    """As a page does that lets its own name mean 127.0.0.1."""
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "a b"):
        assert ask(server, "/state.json", host=host)[0] == 421, host
    port = server.server_address[1]
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", "192.168.1.7"):
        assert ask(server, "/state.json", host=host)[0] == 200, host
    assert names_this_server("box:8000", "box") and not names_this_server(None, "box")


def test_it_follows_the_run(server, built):
    before = json.loads(ask(server, "/state.json")[2])["version"]
    built.record.status, built.record.error = "failed", "out of memory & time"
    del built.record.entries["pseudo_labels@2"]
    save_run(built.store, built.record)
    until(lambda: json.loads(ask(server, "/state.json")[2])["version"] != before)
    assert json.loads(ask(server, "/state.json")[2])["status"] == "failed"
    assert b"out of memory &amp; time" in ask(server, "/")[2]


def test_a_run_that_has_nothing_yet(built, monkeypatch):
    monkeypatch.setattr(live_run, "LOOKS", 0.05)
    entries = dict(built.record.entries)
    built.record.entries.clear()
    save_run(built.store, built.record)
    with LiveRun(built.run) as live:
        assert json.loads(live.index())["images"] == [] and b"gallery" in live.page()
        built.record.entries.update(entries)
        save_run(built.store, built.record)
        until(lambda: json.loads(live.index())["images"])
        assert json.loads(live.index())["classes"] == ["cat", "cow"]


def test_a_damaged_record_leaves_what_was_shown(server, built, caplog):
    path = built.store.root / "runs" / "demo.json"
    good = path.read_bytes()
    path.write_text("{}")
    until(lambda: any("demo.json" in line for line in caplog.messages))
    assert ask(server, "/")[0] == 200
    path.write_bytes(good)


def test_a_place_that_is_taken(server, built):
    with (
        LiveRun(built.run) as live,
        pytest.raises(ConfigError, match="--port: expected a place to listen at"),
    ):
        ViewServer(live, port=server.server_address[1])


def test_the_command_serves_until_ctrl_c(built, tmp_path):
    process = Process(tmp_path / "log", "view", "demo", "--store", built.store.root)
    try:
        line = process.popen.stdout.readline().decode()
        url = line.split()[0]
        assert url.startswith("http://127.0.0.1:") and "demo" in line
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert b"Gallery" in answer.read()
        assert process.end(signal.SIGINT) == 0
        assert process.text == ""
    finally:
        process.close()
