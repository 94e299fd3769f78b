"""Every command of `wsis` on a finished run: what it prints, writes, recomputes, and refuses."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from data_contracts.schemas import SEEDS
from data_contracts.store import Store
from tests.runs.other_data import write_voc
from tests.runs.tiny_run import (
    RUN,
    SHORT,
    TINY,
    Process,
    computed,
    done,
    fingerprints,
    manifest_of,
    record_of,
    wsis,
)
from wsis.reporting.tables.tables import percent

pytestmark = pytest.mark.timeout(400)
CLASSES = ["cup", "fish", "kite", "mushroom"]
THRESHOLDS = ["0.25", "0.50", "0.70", "0.75"]


# -- looking ----------------------------------------------------------------------------------------------
def test_show_run(tiny_store: Path) -> None:
    lines = done(wsis("show", RUN, "--store", tiny_store)).out.splitlines()
    assert lines[0] == f"run {RUN}: completed"
    for key, artefact in fingerprints(tiny_store).items():
        (line,) = [x for x in lines if x.startswith(f"{key} ")]
        wall, cpu, peak, size = (float(x) for x in line.split()[2:])
        assert line.split()[1] == artefact
        assert cpu >= 0 and 0 <= wall < 300 and 50 < peak < 4000 and 0 <= size < 100
    assert re.match(r"stages \d+ s; orchestration, hashing and locking \d+\.\d s", lines[-1])
    assert max(len(line) for line in lines if not line.startswith("config ")) <= 80


def test_show_one_artefact(tiny_store: Path) -> None:
    text = done(wsis("show", RUN, "pseudo_labels@2", "--store", tiny_store)).out
    assert "outer iteration 2" in text
    assert re.search(r"^supervision: .*image labels", text, re.MULTILINE)
    assert re.search(rf"^  conditional +{fingerprints(tiny_store)['conditional@2']}$", text, re.MULTILINE)
    assert re.search(r"^  score_noise +0\.02$", text, re.MULTILINE)
    assert "records: 12 images" in text
    assert re.search(r"^  multiplicities +int32 +\[U\] = \[[12](–2)?\]", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("key", "images", "written"), [("pseudo_labels@1", 3, 3), ("predictions.val@2", 99, 8)]
)
def test_show_writes_pictures(tiny_store: Path, tmp_path: Path, key, images, written) -> None:
    out = tmp_path / "pictures"
    text = done(wsis("show", RUN, key, "--images", images, "--out", out, "--store", tiny_store)).out
    files = sorted(out.iterdir())
    assert len(files) == written
    assert {str(f) for f in files} == {x for x in text.splitlines() if x.endswith(".png")}
    for file in files:
        picture = Image.open(file)
        picture.load()
        assert picture.format == "PNG" and picture.width > 1.5 * picture.height


def test_results_as_json(tiny_store: Path) -> None:
    """The schema of the JSON: metrics only, no times, one row per evaluated thing and outer iteration."""
    rows = json.loads(done(wsis("results", RUN, "--json", "--store", tiny_store)).out)
    assert [(r["kind"], r["outer_iteration"], r["split"], r["images"]) for r in rows] == [
        ("prm_baseline", None, "val", 8),
        ("pseudo_labels", 1, "train", 12),
        ("prediction", 1, "val", 8),
        ("pseudo_labels", 2, "train", 12),
        ("prediction", 2, "val", 8),
    ]
    for row in rows:
        assert list(row) == [
            *("kind", "outer_iteration", "split", "supervision", "images", "mAP", "per_class"),
            *("coco", "coco_per_class"),
        ]
        assert "image labels" in row["supervision"] and "boxes" not in row["supervision"]
        assert list(row["mAP"]) == THRESHOLDS
        assert list(row["per_class"]) == CLASSES
        for threshold in THRESHOLDS:
            aps = [row["per_class"][c][threshold] for c in CLASSES]
            assert all(0 <= ap <= 1 for ap in aps)
            assert row["mAP"][threshold] == pytest.approx(np.mean(aps), abs=1e-6)
        assert row["mAP"]["0.25"] >= row["mAP"]["0.50"] >= row["mAP"]["0.75"]
        assert row["coco"]["AP50"] >= row["coco"]["AP"] >= 0
        assert row["coco"]["AP"] == pytest.approx(
            np.mean([row["coco_per_class"][c]["AP"] for c in CLASSES]), abs=1e-6
        )


def test_results_as_text(tiny_store: Path) -> None:
    rows = json.loads(done(wsis("results", RUN, "--json", "--store", tiny_store)).out)
    lines = done(wsis("results", RUN, "--store", tiny_store)).out.splitlines()
    assert lines[0].startswith("supervision: ") and max(map(len, lines)) <= 80
    assert "images: val 8, train 12" in lines
    for line, row in zip(lines[-len(rows) :], rows, strict=True):
        assert line.startswith(row["kind"].replace("_", " "))
        measured = [*(row["mAP"][t] for t in THRESHOLDS), *row["coco"].values()]
        assert line.split()[-10:] == [percent(value) for value in measured]
    long = done(wsis("results", RUN, "--per-class", "--store", tiny_store)).out
    assert long.count("mushroom") == 5 and max(map(len, long.splitlines())) <= 80


def test_verify(tiny_store: Path) -> None:
    for arguments in ([RUN], []):
        out = done(wsis("verify", *arguments, "--store", tiny_store)).out
        assert out == "20 artefacts checked, 0 problems\n"


def test_report_is_one_self_contained_page(own_store: Path, tmp_path: Path) -> None:
    out = done(wsis("report", RUN, "--images", 2, "--out", tmp_path / "report", "--store", own_store)).out
    page = Path(out.splitlines()[-1].removeprefix("report and pictures: "))
    html = page.read_text()
    assert page.is_relative_to(tmp_path / "report") and html.lstrip().lower().startswith("<!doctype html")
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", html)
    assert sources and all(s.startswith(("data:", "#")) for s in sources), sources[:5]
    assert "<script src" not in html and "prm baseline" in html
    done(wsis("report", RUN, "--images", 0, "--store", own_store))
    assert list((own_store / "reports" / RUN).glob("*.html"))
    assert done(wsis("verify", "--store", own_store)).out.endswith(" 0 problems\n")


@pytest.mark.parametrize("how", ["no folder can be made", "no file can be written"])
def test_a_report_on_a_store_that_is_only_read_is_told_of_out(
    own_store: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a diagnosis that may take long."""
    if how == "no folder can be made":
        (own_store / "reports").write_text("")
    else:
        monkeypatch.setattr("wsis.apps.output_paths.os.access", lambda *_: False)
    monkeypatch.setattr("wsis.apps.reports.diagnose_run", lambda *_, **__: pytest.fail("begun"))
    refused = wsis("report", RUN, "--diagnose", "--store", own_store)
    said = f"error: cannot [a-z ]+ {own_store}/reports/{RUN}: [^;]+; --out FOLDER writes the page elsewhere\n"
    assert refused.code == 1 and re.fullmatch(said, refused.err)
    elsewhere = wsis("report", RUN, "--images", 0, "--out", tmp_path / "report", "--store", own_store)
    assert elsewhere.code == (0 if how == "no folder can be made" else 1) and "--out" not in elsewhere.err


def test_configs() -> None:
    lines = done(wsis("configs")).out.splitlines()
    assert {"demo", "voc_lite", "voc2012_image", "literal_box"} <= {x.split()[0] for x in lines if x}


# -- one stage --------------------------------------------------------------------------------------------
def test_a_stage_is_reused_or_forced(own_store: Path) -> None:
    before = manifest_of(own_store, "prm_seeds")
    arguments = ["stage", "prm-seeds", "--run", RUN, "--store", own_store]
    assert "prm_seeds: is intact, nothing to do" in done(wsis(*arguments)).out
    assert manifest_of(own_store, "prm_seeds") == before
    assert "prm_seeds: computed" in done(wsis(*arguments, "--force")).out
    after = manifest_of(own_store, "prm_seeds")
    assert after.files == before.files
    assert (after.wall_seconds, after.cpu_seconds) != (before.wall_seconds, before.cpu_seconds)


def test_without_iteration_a_stage_runs_for_all(own_store: Path) -> None:
    out = done(wsis("stage", "evaluation", "--run", RUN, "--store", own_store)).out
    assert [x.split(": ")[0] for x in out.splitlines()] == [
        k for k in fingerprints(own_store) if k.startswith("evaluation")
    ]


def test_a_set_value_stays_and_the_next_run_redoes_only_what_changed(own_store: Path) -> None:
    before = fingerprints(own_store)
    arguments = ["stage", "prm_baseline", "--run", RUN, "--store", own_store, "--set", "prm_baseline.nms=0.9"]
    assert "prm_baseline: computed" in done(wsis(*arguments)).out
    assert record_of(own_store).config["prm_baseline"]["nms"] == 0.9
    assert manifest_of(own_store, "prm_baseline").config["nms"] == 0.9
    done(wsis("run", "--name", RUN, "--store", own_store))
    after = fingerprints(own_store)
    assert computed(own_store) == {"evaluation.prm_baseline"}
    assert {k for k in after if after[k] != before[k]} == {"prm_baseline", "evaluation.prm_baseline"}
    assert Path(record_of(own_store).config_name) == TINY
    refused = wsis("run", TINY, "--store", own_store)
    assert refused.code == 2 and "prm_baseline.nms: 0.9 → " in refused.err
    done(
        wsis("run", TINY, "--replace", "--store", own_store)
    )  # the file's own values: all of it is still there
    assert computed(own_store) == set() and fingerprints(own_store) == before


def test_a_change_is_followed_downstream(own_store: Path) -> None:
    before = fingerprints(own_store)
    changes = ["--set", "pseudo_labels.score_noise=0.03", "--set", "outer_iterations=1"]
    done(wsis("run", TINY, "--replace", "--store", own_store, *changes))
    following = {"pseudo_labels@1", "evaluation.pseudo_labels@1", "prediction@1", "predictions.val@1"}
    assert computed(own_store) == {*following, "evaluation.prediction@1"}
    after = fingerprints(own_store)
    assert all(after[k] == before[k] for k in after if k not in computed(own_store))
    assert not [k for k in after if k.endswith("@2")] and "predictions.train@1" not in after


def test_execution_settings_change_nothing(own_store: Path) -> None:
    changes = [
        "execution.workers=2",
        "execution.shard_images=5",
        "prediction.data_workers=1",
    ]
    done(wsis("run", TINY, "--store", own_store, *[x for c in changes for x in ("--set", c)]))
    assert computed(own_store) == set()


def test_a_refused_override_leaves_the_run_as_it_was(own_store: Path) -> None:
    before = record_of(own_store)
    refused = wsis(
        "stage", "prm_seeds", "--run", RUN, "--store", own_store, "--set", "prm_seeds.image_size=3"
    )
    assert refused.code == 2
    assert (
        refused.err == "error: --set prm_seeds.image_size: expected a whole number from 32 to 2048, got 3\n"
    )
    assert record_of(own_store) == before


def test_a_cuda_config_without_cuda_is_refused_before_any_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = wsis("run", TINY, "--set", "execution.device=cuda", "--store", tmp_path / "store")
    assert result.code == 2
    assert "error: execution.device: expected a CUDA device because it is 'cuda', but torch" in result.err
    assert not list((tmp_path / "store").glob("*/*/manifest.json"))


def test_a_missing_input_names_the_command(own_store: Path) -> None:
    arguments = ["stage", "prediction", "--run", RUN, "--iteration", 3, "--store", own_store]
    refused = wsis(*arguments, "--set", "outer_iterations=3")
    assert refused.code == 1
    assert refused.err == (
        "error: prediction@3 needs pseudo_labels@3, which this run has not computed: "
        f"wsis stage pseudo_labels --run {RUN} --iteration 3\n"
    )


# -- other runs -------------------------------------------------------------------------------------------
def test_boxes_and_no_evaluation(tmp_path: Path) -> None:
    """Data without masks: the same training, nothing measured; boxes are in the lineage of all that used them."""
    store = tmp_path / "store"
    changes = ["outer_iterations=1", "evaluate=false", "data.supervision=box", *SHORT]
    out = done(
        wsis("run", TINY, "--name", "box", "--store", store, *[x for c in changes for x in ("--set", c)])
    ).out
    assert "pseudo labels" not in out and "run 'box' in" in out
    assert out.endswith("pictures of its masks: `wsis show box pseudo_labels@1 --images 8 --out pictures`\n")
    assert {p.name for p in store.iterdir() if p.is_dir()} == {
        *("dataset", "boxes", "prm_classifier", "proposals", "prm_seeds", "conditional", "pseudo_labels"),
        *("prediction", "predictions", "runs"),
    }
    assert json.loads(done(wsis("results", "box", "--json", "--store", store)).out) == []
    for key in ("prm_seeds", "conditional@1", "pseudo_labels@1", "prediction@1", "predictions.val@1"):
        assert {"boxes", "image labels"} <= set(manifest_of(store, key, "box").supervision), key
    seeds = Store(store).open(*fingerprints(store, "box")["prm_seeds"].split("/")).records(SEEDS)
    assert all(len(seeds[i]["boxes"]) == len(seeds[i]["peaks"]) > 0 for i in seeds.ids)


def test_the_store_comes_from_the_option_the_variable_or_is_runs(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSIS_STORE", raising=False)
    assert done(wsis("runs")).out == "no runs in runs\n"
    monkeypatch.setenv("WSIS_STORE", str(tiny_store))
    assert f"\n{RUN} " in done(wsis("runs")).out
    assert done(wsis("runs", "--store", tmp_path)).out == f"no runs in {tmp_path}\n"
    monkeypatch.delenv("WSIS_STORE")
    (tmp_path / "runs").symlink_to(tiny_store)
    assert f"\n{RUN} " in done(wsis("runs")).out


# -- refusals ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["run", TINY, "--set", "conditional.kk=1"],
            2,
            r"conditional\.kk: unknown key; did you mean 'conditional\.k'",
        ),
        (["run", "tyni"], 2, r"config 'tyni': expected a YAML file or one of demo"),
        (["run", TINY, "--name", "a/b"], 2, r"run name: expected letters, .*got 'a/b'"),
        (["run"], 2, r"expected CONFIG, or --name"),
        (["run", "--name", "nobody"], 1, r"no run 'nobody' in .*; runs there: none"),
        (["run", TINY, "--set", "data.format=voc"], 2, r"data\.root: expected the folder of the voc data"),
        (["run", TINY, "--set", "prm_classifier.pretrained=/none.pth"], 1, r"/none\.pth"),
        (["show", "nobody"], 1, r"no run 'nobody'"),
        (["results", "nobody"], 1, r"no run 'nobody'"),
        (["verify", "nobody"], 1, r"no run 'nobody'"),
        (["report", "nobody"], 1, r"no run 'nobody'"),
        (["stage", "proposals", "--run", "nobody"], 1, r"no run 'nobody'"),
        (["evaluate", "nobody", "--data", ".", "--split", "val"], 1, r"no run 'nobody'"),
        (["stage", "proposals"], 2, r"Missing option '--run'"),
        (["bogus"], 2, r"No such command 'bogus'"),
        (["run", TINY, "--nope"], 2, r"No such option: --nope"),
    ],
)
def test_refusals(tmp_path: Path, arguments, code: int, message: str) -> None:
    refused = wsis(*arguments, "--store", tmp_path / "store")
    assert refused.code == code, refused.err
    assert re.search(message, refused.err) and refused.err.startswith("error: ")
    assert "Traceback" not in refused.err and refused.out == ""
    assert not list((tmp_path / "store").rglob("*.zarr"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["stage", "bogus", "--run", RUN], 2, r"stage 'bogus': expected one of conditional, dataset,"),
        (
            ["stage", "conditional", "--run", RUN, "--iteration", 7],
            2,
            r"expected --iteration in \[1, 2\], got 7",
        ),
        (["show", RUN, "prediction@7"], 2, r"holds no 'prediction@7'; it holds dataset,"),
        (["show", RUN, "prm_seeds", "--images", 2], 2, r"--images: expected --out DIR beside it, got none"),
        (["show", RUN, "prediction@1", "--images", 2, "--out", "x"], 2, r"holds weights, nothing to draw"),
    ],
)
def test_refusals_of_a_finished_run(
    tiny_store: Path, tmp_path: Path, monkeypatch, arguments, code, message
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = wsis(*arguments, "--store", tiny_store)
    assert refused.code == code, refused.err
    assert re.search(message, refused.err) and refused.err.startswith("error: ")


def test_a_bad_image_stops_the_run_before_it_trains(tmp_path: Path) -> None:
    """A process of its own, as a user sees it: message, exit code 1, a failed run, nothing trained."""
    root, store = tmp_path / "devkit", tmp_path / "store"
    write_voc(root, "train", CLASSES[:2], 4)
    write_voc(root, "val", CLASSES[:2], 2)
    bad = sorted((root / "JPEGImages").glob("train_*.jpg"))[2]
    bad.write_bytes(bad.read_bytes()[:200])
    settings = ["--set", "data.format=voc", "--set", f"data.root={root}", "--name", "bad"]
    process = Process(tmp_path / "log", "run", TINY, *settings, "--store", store)
    try:
        refused = process.result()
    finally:
        process.close()
    assert refused.code == 1
    assert "Traceback" not in refused.err
    error = refused.err[refused.err.index("error: ") :]
    assert bad.name in error and sorted((root / "JPEGImages").glob("train_*.jpg"))[1].name not in error
    record = record_of(store, "bad")
    assert record.status == "failed" and bad.name in (record.error or "")
    assert record.entries == {}
    assert re.search(r"^bad +failed .*DataError", done(wsis("runs", "--store", store)).out, re.MULTILINE)
    again = wsis("stage", "dataset", "--run", "bad", "--store", store)
    assert again.code == 1 and bad.name in again.err
    assert cv2.imwrite(str(bad), np.zeros((64, 80, 3), np.uint8))
    assert "dataset: computed" in done(wsis("stage", "dataset", "--run", "bad", "--store", store)).out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("data.format=voc", "data.root={absent}"), "data.root: expected a folder"),
        (("data.scenes.classes=[cup]", "data.train_split=null", "data.val_split=null"), "data"),
        (("execution.cluster=tcp://127.0.0.1:9",), "127.0.0.1:9"),
    ],
)
def test_a_run_that_cannot_begin_is_not_recorded(tmp_path: Path, settings, said: str) -> None:
    named = [f"--set={one.format(absent=tmp_path / 'absent')}" for one in settings]
    refused = wsis("run", TINY, "--name", "mine", "--store", tmp_path / "store", *named)
    assert refused.code in (1, 2) and said in refused.err, refused.err
    assert done(wsis("runs", "--store", tmp_path / "store")).out.startswith("no runs in")


def test_a_config_file_of_the_user(tmp_path: Path) -> None:
    tree = yaml.safe_load(TINY.read_text())
    tree["proposals"]["max_syde"] = 3
    path = tmp_path / "mine.yml"
    path.write_text(yaml.safe_dump(tree))
    refused = wsis("run", path, "--store", tmp_path / "store")
    assert refused.code == 2
    assert (
        refused.err == f"error: {path}: proposals.max_syde: unknown key; did you mean 'proposals.max_side'?\n"
    )
