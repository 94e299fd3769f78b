"""URLs of stores of objects, and the variables that name their server: what a driver would drop or break on is refused
in one line, and a name has one meaning."""

import pytest

from data_contracts.bucket import BucketObjects
from data_contracts.bucket_address import bucket_address, s3_server
from data_contracts.errors import ConfigError, StoreError
from data_contracts.remote import local_folder
from data_contracts.store import Store


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "got no bucket"),
        ("s3:///path", "got no bucket"),
        ("s3://bucket/run#1", "got '#' in it"),
        ("s3://bucket/a?version=1", r"got '\?' in it"),
        ("s3://bucket/../other", r"got '\.\.' in it"),
        ("s3://bucket/./path", r"got '\.' in it"),
        ("s3://bucket//path", "got '//' in it"),
    ],
)
def test_what_the_driver_would_drop_is_refused(url, said):
    with pytest.raises(ConfigError, match=f"expected s3://BUCKET/PATH.*{said}$"):
        BucketObjects(url)


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/path", "abfs://box:secret@acc.dfs.core.windows.net/x"]
)
def test_a_password_is_refused_and_not_said(url):
    with pytest.raises(
        ConfigError, match=r"got a user or password before @; .*by the environment$"
    ) as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def test_the_account_of_azure_is_no_password():
    url = "abfs://box@account.dfs.core.windows.net/path"
    assert bucket_address(url) == ("abfs", "box@account.dfs.core.windows.net/path")


def test_one_place_has_one_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("WSIS_CACHE", str(tmp_path))
    one = Store("memory://slashes/path")
    for url in ("memory://slashes/path/", "memory://slashes/path//", "MEMORY://slashes/path"):
        assert (Store(url).root, Store(url).location) == (one.root, one.location)


@pytest.mark.parametrize("text", ["s3:bucket", "s3:/bucket", "gs:", "file:/tmp"])
def test_a_url_without_its_slashes_is_no_folder(text):
    with pytest.raises(ConfigError, match="got no //"):
        local_folder(text)


def test_a_file_url_without_a_path():
    with pytest.raises(ConfigError, match=r"got no path$"):
        local_folder("file://")


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:9000", "http://", "ftp://host", "http://host:port", "objects"]
)
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_a_server_that_the_driver_would_break_on(name, address, monkeypatch):
    monkeypatch.setenv(name, address)
    with pytest.raises(
        ConfigError, match=rf"^{name}: expected http://HOST:PORT or .*, got '{address}'; unset it"
    ):
        BucketObjects("s3://bucket/path")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_every_variable_that_names_a_server_without_tls_is_heard(name, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv(name, "HTTP://127.0.0.1:9")
    assert s3_server() == "HTTP://127.0.0.1:9"
    assert BucketObjects("s3://bucket")._store.client_options == {"allow_http": "true"}


def test_a_panic_of_the_driver_is_one_line():
    objects = BucketObjects("memory://panic")
    panic = type("PanicException", (BaseException,), {})

    def broken(*_, **__):
        raise panic("called `Result::unwrap()` on an `Err` value")

    objects._driver = type("Driver", (), {"get": broken})()
    with pytest.raises(StoreError, match=r"^store 'memory://panic': PanicException: called"):
        objects.read("key")


def test_what_a_server_says_in_xml_is_said_without(monkeypatch):
    objects = BucketObjects("memory://xml")

    def refused(*_, **__):
        raise OSError(
            'Server returned 403 Forbidden: <?xml version="1.0"?>\n<Error><Code>SignatureDoesNotMatch</Code>'
            "<Message>The signature is another.</Message><Resource>/x</Resource></Error>\n\nDebug source:\nx"
        )

    monkeypatch.setattr(objects._driver, "get", refused)
    with pytest.raises(
        StoreError, match=r"403 Forbidden: SignatureDoesNotMatch: The signature is another\.$"
    ):
        objects.read("key")
