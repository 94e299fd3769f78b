"""Configurations: overrides, and errors that name file, key, expected and got."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from data_contracts.errors import ConfigError
from data_contracts.runs import RunRecord
from wsis.apps.photograph_proposals import build_settings
from wsis.runs.config import RunConfig, apply_override, load_config, stored_config
from wsis.runs.identity import setting_differences
from wsis.runs.settings_text import settings_of
from wsis.runs.shipped import shipped_configs


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_every_shipped_config_loads_and_says_what_it_is(name: str) -> None:
    config = load_config(name)
    assert config.outer_iterations >= 1
    first = shipped_configs()[name].read_text().splitlines()[0]
    assert first.startswith("# ") and len(first) > 20


def test_the_papers_settings_are_in_the_papers_configs() -> None:
    image, box = load_config("voc2012_image"), load_config("voc2012_box")
    for config in (image, box):
        assert config.outer_iterations == 4
        assert (config.conditional.k, config.conditional.gamma) == (10, 0.5)
        assert (config.conditional.delta, config.conditional.epsilon) == (0.1, 1.0)
        assert config.conditional.architecture == "unet"
        assert config.data.train_split == "trainaug"
    assert (image.data.supervision, box.data.supervision) == ("image", "box")


@pytest.mark.parametrize("name", ["image", "box"])
def test_the_letter_differs_from_the_papers_configs_where_the_method_page_says_so(name: str) -> None:
    literal, ours = (dict(_values(load_config(f"{kind}_{name}"))) for kind in ("literal", "voc2012"))
    differ = {key for key in literal if literal[key] != ours[key]}
    of_conditional = (
        "temperature background_bias noise_grid score_noise pairwise slots seed_threshold seed_target undetected "
        "direction held_back"
    )
    others = {"prm_seeds.position", "pseudo_labels.contour_weight"}
    assert differ == others | {f"conditional.{key}" for key in of_conditional.split()}


def _values(config: RunConfig) -> Iterator[tuple[str, object]]:
    return ((one.key, one.value) for one in settings_of(config))


# -- base --------------------------------------------------------------------------------------------------
def test_a_file_says_what_differs_from_its_base(tmp_path: Path) -> None:
    (tmp_path / "lower.yaml").write_text("base: demo\ndata: {scenes: {train: 7}}\nseed: 3\n")
    (tmp_path / "upper.yaml").write_text("base: lower.yaml\nconditional: {k: 2}\nseed: 4\n")
    upper = load_config(str(tmp_path / "upper.yaml"), ["data.scenes.val=9"])
    expected = ["data.scenes.train=7", "data.scenes.val=9", "conditional.k=2", "seed=4"]
    assert upper == load_config("demo", expected)


def test_a_file_that_is_not_there_is_missed_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of Prefect is asked for a file that lies where the flow run was started."""
    monkeypatch.chdir(tmp_path)
    message = rf"config 'mine\.yaml': expected a YAML file or .*; {socket.gethostname()} has no {tmp_path}/mine\.yaml$"
    with pytest.raises(ConfigError, match=message):
        load_config("mine.yaml")


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("dmo", r"mine\.yaml: base: config .*dmo': expected a YAML file or one of .*; did you mean 'demo'\?"),
        ("mine.yaml", r"base: expected another configuration, got mine\.yaml, which is based on this one"),
        ("3", r"base: expected the name or path of a configuration, got 3"),
    ],
)
def test_a_wrong_base_is_named(base: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {base}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(str(path))


def test_an_override_reaches_its_field_with_its_type() -> None:
    config = load_config("demo", ["conditional.k=3", "data.limit=null", "prm_classifier.learning_rate=1e-3"])
    assert config.conditional.k == 3
    assert config.data.limit is None
    assert config.prm_classifier.learning_rate == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("conditional.kk=5", r"conditional\.kk: unknown key; did you mean 'conditional\.k'\?"),
        ("condtional.k=5", r"condtional: unknown key; did you mean 'conditional'\?"),
        ("conditional.k=0", r"^--set conditional\.k: expected a whole number from 1 to 256, got 0$"),
        ("conditional.gamma=two", r"^--set conditional\.gamma: expected a number from 0 to 1, got 'two'$"),
        ("conditional.k", r"expected dotted\.key=value"),
        ("conditional..k=1", r"expected dotted\.key=value"),
        ("conditional.k.x=1", r"'conditional\.k' is no section but 5"),
        ("data.root=[", r"the value is not YAML that can be used: .*line 1"),
        ("outer_iterations=0", r"outer_iterations: .*got 0"),
        *(
            (
                f"execution.device={one}",
                f"^--set execution.device: expected text such as auto, cpu, cuda, cuda:1, got {got}$",
            )
            for one, got in (
                ("CUDA", "'CUDA'"),
                ("0", "0"),
                ("cuda:01", "'cuda:01'"),
                ("mps", "'mps'"),
                ("", "null"),
            )
        ),
        ("execution.wandb=a/b/c", r"expected text such as PROJECT, ENTITY/PROJECT, or null, got 'a/b/c'$"),
        ("conditional.learning_rate=.nan", r"conditional\.learning_rate: .*got nan"),
        (
            "proposals.tolerate_failures=true",
            r"--set proposals\.tolerate_failures: removed in 0\.2: it is always false$",
        ),
        (
            "proposals.source=mcg_mat",
            r"--set proposals\.source: proposals: folder: expected the folder .* mcg_mat, got None$",
        ),
        (
            "prm_baseline.contour_width=7",
            r"^--set prm_baseline\.contour_width: removed in 0\.2: it is always 5$",
        ),
        ("prm_baseline.image_size=64", r"removed in 0\.2: use prm_seeds\.image_size$"),
        ("pseudo_labels.k=3", r"removed in 0\.2: use conditional\.k$"),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("demo", [override])


def test_settings_of_an_earlier_version_that_mean_the_same_are_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "prm_seeds: { image_size: 96 }\nprm_baseline: { image_size: 96 }\nconditional: { k: 2, match_iou: 0.5 }\n"
        "pseudo_labels: { k: 2 }\nprediction: { pointwise: true, precision: fp32 }\n"
    )
    config = load_config(str(path), ["prm_seeds.chunk_size=8", "prediction.batch_size=2"])
    assert (config.conditional.k, config.prm_seeds.image_size) == (2, 96)
    assert (config.prediction.self_diversity, config.prediction.precision) == (0, "float32")
    (line,) = caplog.messages
    assert line.startswith(f"{path}: settings of an earlier version are taken: ")
    for said in (
        "prm_baseline.image_size (removed in 0.2: use prm_seeds.image_size)",
        "conditional.match_iou (removed in 0.2: it is always 0.5)",
        "pseudo_labels.k (removed in 0.2: use conditional.k)",
        "prediction.pointwise (removed in 0.2: use prediction.self_diversity=0)",
        "prm_seeds.chunk_size (removed in 0.2)",
    ):
        assert said in line
    assert line.count("removed in") == 5


def test_a_setting_of_an_earlier_version_is_said_with_the_value_to_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    earlier = load_config("demo", ["prediction.gamma=0.3"])
    (line,) = caplog.messages
    assert line.startswith("--set: settings of an earlier version are taken: prediction.gamma (")
    written = line.rpartition("use ")[2].rstrip(")")
    assert written.startswith("prediction.self_diversity=") and load_config("demo", [written]) == earlier


def test_commands_without_a_run_have_settings_that_a_run_has_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = build_settings(["proposals.tolerate_failures=false"])
    assert not settings.proposals.tolerate_failures and not caplog.messages


def test_what_overrides_alone_did_is_not_the_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--set: 2 problems\n  --set conditional\.k: .*\n  --set seed: "):
        load_config("demo", ["conditional.k=0", "seed=-1"])
    path = tmp_path / "mine.yaml"
    path.write_text("conditional: { k: 2 }\npseudo_labels: { k: 2 }\n")
    with pytest.raises(ConfigError, match=r"^--set pseudo_labels\.k: removed in 0\.2: use conditional\.k$"):
        load_config(str(path), ["pseudo_labels.k=3"])


def test_errors_name_the_file_and_every_problem(tmp_path: Path) -> None:
    tree = yaml.safe_load(shipped_configs()["demo"].read_text())
    tree["conditional"]["k"] = -1
    tree["nonsense"] = 1
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"mine\.yaml: 2 problems\n") as caught:
        load_config(str(path))
    assert "conditional.k" in str(caught.value) and "nonsense: unknown key" in str(caught.value)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'voc_lite'"):
        load_config("voc_lit")


def test_a_file_that_is_no_mapping_or_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping of sections, got list"):
        load_config(str(path))
    path.write_text("a: [\n")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(str(path))


def test_overrides_do_not_touch_the_tree_they_come_from() -> None:
    tree: dict[str, object] = {"a": {"b": 1}}
    apply_override(tree, "a.c.d=2")
    assert tree == {"a": {"b": 1, "c": {"d": 2}}}


def test_a_dumped_config_validates_to_itself() -> None:
    config = load_config("demo")
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_key_that_is_there_twice_is_refused_in_files_and_in_set(tmp_path: Path) -> None:
    """PyYAML takes the last in silence."""
    path = tmp_path / "mine.yaml"
    path.write_text(shipped_configs()["demo"].read_text() + "\nouter_iterations: 3\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml .*the key 'outer_iterations' is there twice \(line"):
        load_config(str(path))
    with pytest.raises(
        ConfigError, match=r"--set 'data=\{limit: 1, limit: 2\}': the value .*'limit' is there"
    ):
        load_config("demo", ["data={limit: 1, limit: 2}"])


def test_the_one_who_is_wrong_is_blamed(tmp_path: Path) -> None:
    """The file for what stands in it, --set for what it changed, also where two keys contradict each other."""
    tree = yaml.safe_load(shipped_configs()["demo"].read_text())
    tree["conditional"]["k"] = 0
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))

    def said(*overrides: str, file: str = str(path)) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(file, overrides)
        return str(caught.value)

    assert said() == f"{path}: conditional.k: expected a whole number from 1 to 256, got 0"
    assert said("seed=1") == said()
    assert said("seed=-1").splitlines() == [
        f"{path}: 2 problems",
        "  conditional.k: expected a whole number from 1 to 256, got 0",
        "  --set seed: expected a whole number at least 0 and below 2147483648, got -1",
    ]
    assert said("ceiling=true", "evaluate=false", file="demo").startswith(
        "--set ceiling --set evaluate: ceiling: "
    )
    assert said("data=3", file="demo").startswith(
        "--set data: expected a section of keys out of format, root"
    )
    assert (
        said("conditional.checkpointing=3", file="demo")
        == "--set conditional.checkpointing: expected true or false, got 3"
    )
    assert said("k=3", file="demo") == ("--set k: unknown key; did you mean 'conditional.k'?")
    assert said("data.limt=3", file="demo") == "--set data.limt: unknown key; did you mean 'data.limit'?"


@pytest.mark.parametrize("key", ["extends", "_base_", "inherit", "defaults"])
def test_what_other_tools_call_the_base(key: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{key}: voc_lite\n")
    with pytest.raises(ConfigError, match=rf"^{path}: {key}: unknown key; the key is base$"):
        load_config(str(path))
    with pytest.raises(ConfigError, match=rf"data\.{key}: unknown key \(known: format, root"):
        load_config("demo", [f"data.{key}=x"])


@pytest.mark.parametrize("key", ["import", "include", "resume", "data.parent", "prediction.test"])
def test_a_far_name_is_not_guessed(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: unknown key \(known: "):
        load_config("demo", [f"{key}=3"])


def test_a_run_of_the_version_before_is_the_run_that_its_configuration_is_now() -> None:
    stored = json.loads(Path(__file__).with_name("demo_of_0_1.json").read_text())
    record = RunRecord(name="old", config_name="demo", config=stored, created="")
    as_then = load_config("demo", ["conditional.pooling=image", "conditional.temperature=30"])
    assert setting_differences(stored_config(record), as_then) == []
    record.config["conditional"]["separation"] = "mean"
    with pytest.raises(
        ConfigError, match=r"^run old: .* conditional\.separation='mean', which .* wsis 0\.1\.0"
    ):
        stored_config(record)
