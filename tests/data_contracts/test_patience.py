"""Requests that take long: a line says so, Ctrl-C ends them at once, and of several the first error is told."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from data_contracts import patience
from data_contracts.bucket import BucketObjects
from data_contracts.patience import answered, many
from tests.object_servers import environment

ASKS = """
from data_contracts.bucket import BucketObjects
objects = BucketObjects("s3://bucket/path")
print("asks", flush=True)
try:
    objects.list("runs")
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def nowhere():
    """An address that nobody answers at."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{asked.getsockname()[1]}"


def test_ctrl_c_ends_the_wait_for_a_server_that_is_not_there(nowhere):
    """The driver itself would hear it after three minutes."""
    command = [sys.executable, "-c", ASKS]
    variables = {**os.environ, **environment(nowhere)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "asks\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(10) == 0


def test_a_long_wait_is_said(nowhere, monkeypatch, caplog):
    for name, value in environment(nowhere).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "_SAY_SECONDS", 0.2)
    monkeypatch.setattr("data_contracts.bucket.PATIENCE_SECONDS", 1.0)
    objects = BucketObjects("s3://bucket/path")
    with (
        caplog.at_level(logging.WARNING, "wsis.store"),
        pytest.raises(OSError, match="store 's3://bucket/path'"),
    ):
        many(objects.read, ["a", "b", "c"])
    (line,) = caplog.messages  # of three requests that wait at once
    assert (
        line == f"store 's3://bucket/path': no answer for 0 s from {nowhere}; it is asked again for up to 1 s"
    )


def test_waits_are_said_ever_more_seldom(monkeypatch):
    monkeypatch.setattr(patience, "_SAY_SECONDS", 0.05)
    said = []
    assert answered(lambda: time.sleep(0.5) or "it", said.append) == "it"
    assert said == [pytest.approx(x) for x in (0.05, 0.1, 0.2, 0.4)][: len(said)] and len(said) >= 3


def test_several_at_once_in_their_order():
    at_work, most = [], []

    def double(number):
        at_work.append(number)
        most.append(len(at_work))
        time.sleep(0.01)
        at_work.remove(number)
        return 2 * number

    assert many(double, range(40)) == [2 * n for n in range(40)]
    assert 1 < max(most) <= 8
    assert many(double, []) == []


def test_the_first_error_ends_them_when_those_under_way_have_ended():
    ended = []

    def work(number):
        if number == 3:
            raise LookupError("three")
        time.sleep(0.1)
        ended.append(number)

    with pytest.raises(LookupError, match="three"):
        many(work, range(100))
    seen = len(ended)
    assert 0 < seen < 20
    time.sleep(0.2)
    assert len(ended) == seen
    assert threading.active_count() < 8
