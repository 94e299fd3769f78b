"""A stage whose object store throttles, is slow, or is gone for a while: the same bytes, nothing twice, waits with a
bound."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_contracts import bucket
from data_contracts.errors import StoreError
from data_contracts.store import Store
from data_contracts.verification import damage_of, stored_artefacts
from tests.engine.toy_stages import SHARDS, ShardConfig
from tests.object_servers import environment, moto, new_store
from tests.troubled_server import TroubledServer
from wsis.engine.settings import Execution
from wsis.engine.stage import execute

IMAGES = 40  # 5 shards


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the store itself."""
    with moto(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture
def server(behind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TroubledServer]:
    """What stands before it, without troubles yet."""
    with TroubledServer(behind) as running:
        for name, value in environment(running.endpoint).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("WSIS_CACHE", str(tmp_path / "cache"))
        yield running


def make(store: Store, delay: float = 0.0) -> Any:
    """The files of the stage's artefact: name -> size and hash."""
    made = execute(SHARDS, ShardConfig(images=IMAGES, delay=delay), {}, store, execution=Execution(workers=1))
    return made.artefact.manifest.without_places().files


def assert_once(store: Store, behind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen without troubles: one whole artefact, of which every shard has one record."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", behind)
    again = Store(store.location)
    (pair,) = stored_artefacts(again)
    assert damage_of(again, [pair]) == {}
    kept = bucket.BucketObjects(store.location).list("toy_shards")
    assert len([key for key in kept if "/shards/0" in key]) == IMAGES // 8
    assert len([key for key in kept if key.endswith("/manifest.json")]) == 1


def test_a_store_that_throttles(
    server: TroubledServer, behind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make(Store(tmp_path / "plain"))
    store = Store(new_store(behind))
    server.busy, server.delay = 0.3, 0.02
    assert make(store) == plain
    assert server.refused > 5
    assert_once(store, behind, monkeypatch)


def during(work: Callable[[], Any], happens: Callable[[], None]) -> Any:
    """What `work` gives while something happens beside it."""
    beside = threading.Thread(target=happens)
    beside.start()
    try:
        return work()
    finally:
        beside.join()


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_a_store_that_is_gone_for_a_while(
    server: TroubledServer, behind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    plain = make(Store(tmp_path / "plain"))
    store = Store(new_store(behind))
    left = []

    def gone() -> None:
        time.sleep(1.0)  # after the first shard, of .8 s
        server.go()
        left.append(time.monotonic())
        time.sleep(seconds)
        server.come()

    assert during(lambda: make(store, delay=0.1), gone) == plain
    assert time.monotonic() - left[0] > seconds  # it was not done before
    assert_once(store, behind, monkeypatch)


def test_a_store_that_stays_away_ends_the_stage_in_one_line(
    server: TroubledServer, behind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make(Store(tmp_path / "plain"))
    monkeypatch.setattr(bucket, "PATIENCE_SECONDS", 3.0)
    store = Store(new_store(behind))

    def leave() -> None:
        time.sleep(1.0)
        server.go()

    began = time.monotonic()
    with pytest.raises(StoreError) as raised:
        during(lambda: make(store, delay=0.1), leave)
    assert time.monotonic() - began < 60
    assert "\n" not in str(raised.value) and store.location in str(raised.value)
    server.come()
    assert make(store) == plain  # it goes on from the shards that are there
    assert_once(store, behind, monkeypatch)
