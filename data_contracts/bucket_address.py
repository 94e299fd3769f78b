"""The URL of a store of objects and the variables that name its server, looked at before the driver is: what that does
not understand it drops, so that two URLs are one place, or it breaks."""

import os
from urllib.parse import urlsplit

from data_contracts.errors import ConfigError

PROTOCOLS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
    "adl": "az",
    "memory": "s3",
}
"""Protocol -> the extra of wsis with its driver."""
_SERVERS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")


def bucket_address(location: str) -> tuple[str, str]:
    """Protocol of a URL, and its bucket with the path in it, without a slash at the end.

    Raises:
        ConfigError: an unknown protocol, no bucket, a user or password, or what no path of a store may have.
    """
    protocol, _, rest = location.partition("://")
    protocol, rest = protocol.lower(), rest.rstrip("/")
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"store {location!r}: expected a folder or a URL such as file:///PATH or s3://BUCKET/PATH (s3, gs, az "
            f"and abfs can decide which of two writers wins), got the unknown protocol {protocol!r}"
        )
    bucket, *parts = rest.split("/")
    user, at, host = bucket.rpartition("@")
    container = protocol.startswith(("abfs", "adl"))  # CONTAINER@ACCOUNT.dfs.core.windows.net
    if at and (not container or ":" in user):
        raise ConfigError(  # not repeated: it may be a secret
            f"store '{protocol}://...@{host}': expected {protocol}://BUCKET/PATH, got a user or password before @; "
            "credentials are given by the environment"
        )
    if not bucket:
        raise ConfigError(f"store {location!r}: expected {protocol}://BUCKET/PATH, got no bucket")
    if wrong := [one for one in ("?", "#") if one in rest] + [one for one in parts if one in ("", ".", "..")]:
        raise ConfigError(
            f"store {location!r}: expected {protocol}://BUCKET/PATH with a plain path, got {wrong[0] or '//'!r} in it"
        )
    return protocol, rest


def s3_server() -> str | None:
    """The address of another S3 server than Amazon's, if the environment names one.

    Raises:
        ConfigError: it is none.
    """
    found = None
    for name in _SERVERS:
        address = os.environ.get(name)
        if address is not None:
            _check_server(name, address)
            found = found or address
    return found


def _check_server(name: str, address: str) -> None:
    try:
        parts = urlsplit(address)
        there = parts.scheme.lower() in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        there = False
    if not there:
        raise ConfigError(
            f"{name}: expected http://HOST:PORT or https://HOST:PORT, got {address!r}; unset it for Amazon's own"
        )
