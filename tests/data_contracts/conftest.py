"""Object stores that the tests of this folder run on."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from data_contracts.store import Store
from tests.object_servers import environment, moto, new_store, seaweed

SERVERS = ["memory", "moto", pytest.param("seaweed", marks=pytest.mark.slow)]
REAL_SERVERS = SERVERS[1:]
_STARTS = {"moto": moto, "seaweed": seaweed}


@pytest.fixture(scope="session")
def address_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Address of a server by name; each is started once."""
    running: dict[str, tuple[object, str]] = {}

    def address(name: str) -> str:
        if name not in running:
            context = _STARTS[name](tmp_path_factory.mktemp(name))
            running[name] = (context, context.__enter__())
        return running[name][1]

    yield address
    for context, _ in running.values():
        context.__exit__(None, None, None)


@pytest.fixture
def new_url(address_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """`new_url(server)`: URL of an empty store there."""

    def url(server: str) -> str:
        if server == "memory":
            return f"memory://bucket-{uuid.uuid4().hex}/wsis"
        address = address_of(server)
        for name, value in environment(address).items():
            monkeypatch.setenv(name, value)
        return new_store(address)

    return url


@pytest.fixture(params=SERVERS)
def machines(request, new_url, tmp_path, monkeypatch):
    """`machines(name)`: the same URL store seen from a machine of that name, each with a cache of its own."""
    url = new_url(request.param)

    def store_of(name):
        monkeypatch.setenv("WSIS_CACHE", str(tmp_path / name))
        return Store(url)

    return store_of
