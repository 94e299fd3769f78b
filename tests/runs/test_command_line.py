"""What every command shares: version, help, completion, -q and -v, and an end that is quiet where nobody reads."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.tiny_run import COMMAND, RUN, done, wsis
from wsis.apps.tool_exports import TOOL_FORMATS
from wsis.cli.completion import complete_format, complete_label_format, complete_stage
from wsis.cli.main import app
from wsis.readers.formats import FORMATS
from wsis.runs.plan import every_stage

WITHOUT = """
import sys
sys.argv = ["wsis", *{arguments}]
from wsis.cli.main import main
try:
    main()
finally:
    print(sorted({{"torch", "zarr", "numpy", "mmdet", "prefect"}} & set(sys.modules)), file=sys.stderr)
"""


def complete(words: str, **environment: str) -> list[str]:
    """What bash is offered after `words`."""
    asked = subprocess.run(
        COMMAND,
        env={
            **os.environ,
            **environment,
            "_WSIS_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stderr == ""
    return asked.stdout.split()


def test_version_names_the_parts_that_decide() -> None:
    line = done(wsis("--version")).out
    assert line.count("\n") == 1
    for name in ("wsis 0.", "Python 3.", "torch 2.", "mmdet 3.", "prefect 3."):
        assert name in line


@pytest.mark.parametrize("command", ["", "run", "predict", "runs", "verify", "diagnose", "train-contours"])
def test_help_has_a_short_name(command: str) -> None:
    arguments = [command] if command else []
    text = done(wsis(*arguments, "-h")).out
    assert text == done(wsis(*arguments, "--help")).out and "Usage: wsis" in text
    assert "--quiet" in text and "--verbose" in text


def test_every_command_gives_an_example_that_is_spelled_as_it_is() -> None:
    for command in app.registered_commands:
        name = (command.name or command.callback.__name__).replace("_", "-")
        assert f"Example: wsis {name}" in (command.callback.__doc__ or ""), name


def test_verbose_says_what_is_looked_up(tiny_store: Path) -> None:
    """As lines of progress on stderr, and only when it is asked for."""
    plain = done(wsis("results", RUN, "--store", tiny_store))
    verbose = done(wsis("results", RUN, "-v", "--store", tiny_store))
    assert "opened" not in plain.err and verbose.out == plain.out
    assert re.search(r"opened .*/evaluation/[0-9a-f]{12}: \d+ files, hashed in \d+\.\d\d s", verbose.err)
    assert "opened" not in done(wsis("results", RUN, "--store", tiny_store)).err


def test_commands_stand_in_groups() -> None:
    text = done(wsis("--help")).out
    places = [text.index(f"─ {panel} ─") for panel in ("Run", "Inspect", "Your images", "Store")]
    assert places == sorted(places)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "-h"], ["configs"]])
def test_looking_up_imports_nothing_heavy(arguments: list[str]) -> None:
    program = WITHOUT.format(arguments=arguments)
    asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (asked.returncode, asked.stderr) == (0, "[]\n")


@pytest.mark.parametrize("command", [["runs"], ["results", RUN], ["show", RUN], ["verify", RUN]])
def test_what_reads_a_store_needs_no_torch(command: list[str], tiny_store: Path) -> None:
    """Two seconds and 200 MB of each look at a run."""
    code = WITHOUT.format(arguments=[*command, "--store", str(tiny_store)])
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in asked.stderr.splitlines()[-1], asked.stderr


def test_completion_knows_commands_runs_artefacts_configs_and_stages(tiny_store: Path) -> None:
    assert complete("wsis verif") == ["verify"]
    assert complete("wsis run voc_l") == ["voc_lite"]
    assert complete(f"wsis show --store {tiny_store} ti") == [RUN]
    assert complete("wsis results ti", WSIS_STORE=str(tiny_store)) == [RUN]
    assert complete("wsis results ti", WSIS_STORE="memory://no-network-for-a-key-press") == []
    offered = complete(f"wsis show --store {tiny_store} {RUN} pseudo")
    assert offered == ["pseudo_labels@1", "pseudo_labels@2"]
    assert complete(f"wsis stage --store {tiny_store} --run t") == [RUN]
    assert complete("wsis stage prm") == ["prm_classifier", "prm_seeds", "prm_baseline"]
    assert complete("wsis ablations voc") == ["voc_lite"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("wsis check photos --format label", ["labelme", "label_studio"]),
        ("wsis evaluate mine --format c", ["coco", "csv"]),
        ("wsis export mine --format label", ["labelme", "label-studio"]),
        ("wsis export mine --sets ", ["frequent", "all"]),
        ("wsis check photos --supervision ", ["image", "box"]),
        ("wsis diagnose mine --split t", ["train"]),
        ("wsis predict mine photos --tiles ", ["auto", "whole"]),
    ],
)
def test_completion_knows_what_an_option_takes(words: str, offered: list[str]) -> None:
    assert complete(words) == offered


def test_completion_names_the_formats_that_are_read_and_written() -> None:
    assert complete_format("") == ["auto", *FORMATS, "scenes"]
    assert complete_label_format("") == ["coco", *TOOL_FORMATS]


def test_a_damaged_record_offers_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "bad.json").write_text("[")
    assert complete(f"wsis show --store {tmp_path} bad p") == []


def test_completion_names_the_stages_of_the_plan() -> None:
    assert set(complete_stage("")) == {stage.name for stage in every_stage()}


def test_quiet_says_only_the_result(tiny_store: Path) -> None:
    loud = done(wsis("diagnose", RUN, "--store", tiny_store, "--images", 2))
    quiet = done(wsis("diagnose", RUN, "--store", tiny_store, "--images", 2, "-q"))
    before = done(wsis("-q", "diagnose", RUN, "--store", tiny_store, "--images", 2))
    assert loud.err and not quiet.err and not before.err
    assert quiet.out == loud.out == before.out


def test_quiet_still_says_what_is_wrong(tmp_path: Path) -> None:
    refused = wsis("show", "nobody", "-q", "--store", tmp_path)
    assert refused.code == 1 and refused.err.startswith("error: no run 'nobody'")


@pytest.mark.parametrize("arguments", [["configs"], ["--help"], ["show", RUN], ["results", RUN, "--json"]])
def test_a_reader_that_goes_ends_a_command_quietly(tiny_store: Path, arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)  # as `| head` may have done before the first line
    try:
        ended = subprocess.run(
            [*COMMAND, *arguments],
            env={**os.environ, "WSIS_STORE": str(tiny_store)},
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(write)
    assert ended.stderr == "" and ended.returncode in (1, 141)


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("results",), "argument 'RUN'"),
        (("predict",), "argument 'RUN'"),
        (("diff", RUN), "argument 'OTHER'"),
        (("stage", "proposals"), "option '--run'"),
    ],
)
def test_a_command_without_a_run_names_those_there_are(
    arguments: tuple[str, ...],
    missing: str,
    tiny_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    more = "; another store: --store FOLDER, or the variable WSIS_STORE"
    asked = wsis(*arguments, "--store", tiny_store)
    assert (asked.code, asked.err) == (2, f"error: Missing {missing}; runs in {tiny_store}: {RUN}{more}\n")
    monkeypatch.setenv("WSIS_STORE", str(tmp_path / "none"))
    assert wsis(*arguments).err == f"error: Missing {missing}; runs in {tmp_path / 'none'}: none{more}\n"
    assert not (tmp_path / "none").exists()
    assert wsis(*arguments, "--store", "foo://x").err == f"error: Missing {missing}.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "demo", "seed=4"), "settings stand behind --set, one each: --set KEY=VALUE"),
        (("predict", "RUN", "a.jpg", "b.jpg", "--out", "made"), "of several photographs give their folder"),
        (("run", "my", "config.yaml"), "names with spaces need quotes"),
    ],
)
def test_a_word_too_many_says_what_to_do(words: tuple[str, ...], said: str) -> None:
    result = wsis(*words)
    assert result.code == 2 and said in result.err


@pytest.mark.parametrize(
    ("place", "said"),
    [("https://x.org/a.jpg", "has to be downloaded first"), ("photos/*.jpg", "patterns are not read")],
)
def test_photographs_that_are_no_folder(tmp_path: Path, place: str, said: str) -> None:
    result = wsis("proposals", place, "--out", tmp_path / "store")
    assert result.code == 1 and said in result.err
