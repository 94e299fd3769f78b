"""Every YAML in configs/ loads, validates and plans; what is wrong is refused with file, key, expected and got."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "configs"
SUITES = (FOLDER / "ablations", FOLDER / "bench")  # tests/runs/test_ablations.py, tests/runs/test_bench.py
CONFIGS = sorted(
    str(p.relative_to(FOLDER).with_suffix("")) for p in FOLDER.rglob("*.yaml") if p.parent not in SUITES
)
PROMISED = {"demo", "voc_lite", "voc2012_image", "voc2012_box", "literal_image", "literal_box"}


def test_the_promised_ones_are_there():
    assert set(CONFIGS) >= PROMISED


@pytest.mark.parametrize("name", CONFIGS)
def test_loads_validates_and_plans(name):
    from wsis.runs.config import load_config
    from wsis.runs.plan import plan
    from wsis.runs.shipped import shipped_configs

    assert name in shipped_configs()
    config = load_config(name)
    nodes = plan(config)
    keys = [node.key for node in nodes]
    assert len(set(keys)) == len(keys)
    made: set[str] = set()
    for node in nodes:
        assert set(node.inputs.values()) <= made, f"{node.key} reads what is made later"
        assert set(node.inputs) <= {*node.stage.inputs, *node.stage.optional}
        assert set(node.stage.inputs) <= set(node.inputs)
        made.add(node.key)


@pytest.mark.parametrize("name", CONFIGS)
def test_stored_in_a_run_record_it_is_the_same(name):
    """`wsis stage` reads the configuration back from the run's record."""
    import json

    from wsis.runs.config import build_config, load_config

    config = load_config(name)
    back = build_config(json.loads(json.dumps(config.model_dump(mode="json"))), "run")
    assert back == config


@pytest.mark.parametrize("name", CONFIGS)
def test_opens_with_a_comment_that_says_what_it_is(name):
    """`wsis configs` shows the first one."""
    assert (FOLDER / f"{name}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_section_refuses_unknown_keys(name, tmp_path):
    from data_contracts.errors import ConfigError
    from wsis.runs.config import RunConfig, load_config

    for section in (
        yaml.safe_load((FOLDER / f"{name}.yaml").read_text()).keys() & RunConfig.model_fields.keys()
    ):
        if isinstance(getattr(load_config(name), section), BaseModel):
            path = tmp_path / "bad.yaml"
            path.write_text(yaml.safe_dump({"base": name, section: {"no_such_key": 1}}))
            with pytest.raises(ConfigError, match=rf"bad.yaml: {section}.no_such_key: unknown key"):
                load_config(str(path))


def test_overrides():
    from data_contracts.errors import ConfigError
    from wsis.runs.config import load_config

    assert load_config("demo", ["seed=7", "outer_iterations=2"]).seed == 7
    with pytest.raises(ConfigError, match=r"seed: .*got -1"):
        load_config("demo", ["seed=-1"])
    with pytest.raises(ConfigError, match="outer_iteration: unknown key; did you mean 'outer_iterations'"):
        load_config("demo", ["outer_iteration=2"])
    with pytest.raises(
        ConfigError, match=r"config 'dmo': expected a YAML file or one of .* did you mean 'demo'"
    ):
        load_config("dmo")
