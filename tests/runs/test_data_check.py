"""`wsis check`: verdict, tables, warnings and the page, on small data made here."""

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runs.tiny_run import Result, done, wsis
from wsis.apps.data_findings import sample
from wsis.readers.inventory import Inventory, InventoryImage
from wsis.readers.survey import survey
from wsis.runs.config import load_config
from wsis.runs.costs import run_cost
from wsis.runs.durations import data_size

CLASSES = {1: "cat", 2: "<b>dog & co</b>"}


class Coco:
    """A folder of COCO's shape. `add` gives an image and its objects: (category, box, whether it has a mask)."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0
        self.trees: dict[str, dict[str, list[Any]]] = {}
        for part in ("train", "val"):
            (root / part).mkdir(parents=True)
            categories = [{"id": i, "name": name} for i, name in CLASSES.items()]
            self.trees[part] = {"images": [], "annotations": [], "categories": categories}

    def add(
        self, part: str, name: str, *objects: tuple[int, list[float] | None, bool], seed: int | None = None
    ) -> None:
        self.count += 1
        tree, width, height = self.trees[part], 120, 90
        cells = np.random.default_rng(self.count if seed is None else seed).integers(
            0, 256, (6, 8, 3), np.uint8
        )
        path = self.root / part / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC).save(path)
        tree["images"].append({"id": self.count, "file_name": name, "width": width, "height": height})
        for category, box, masked in objects:
            x, y, w, h = box or [10, 10, 30, 30]
            one: dict[str, Any] = {"id": 100 * self.count + len(tree["annotations"]), "image_id": self.count}
            one |= {"category_id": category, "iscrowd": 0, "area": w * h}
            one |= {"bbox": box} if box else {}
            one |= {"segmentation": [[x, y, x + w, y, x + w, y + h]]} if masked else {}
            tree["annotations"].append(one)

    def write(self) -> Path:
        (self.root / "annotations").mkdir(exist_ok=True)
        for part, tree in self.trees.items():
            (self.root / "annotations" / f"instances_{part}.json").write_text(json.dumps(tree))
        return self.root


@pytest.fixture(autouse=True)
def this_machine(monkeypatch) -> None:
    """Measured once in test_costs."""
    monkeypatch.setattr("wsis.runs.costs.machine_speed", lambda: 1.0)


BOX, OTHER = [10.0, 10.0, 40.0, 30.0], [60.0, 20.0, 40.0, 50.0]


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    """Train: 12 cats, 11 dogs, an image of two cats and a dog; val: a cat and a dog. Boxes and masks everywhere."""
    made = Coco(tmp_path / "my data")
    for i in range(12):
        made.add("train", f"cat_{i:02d}.jpg", (1, BOX, True))
    for i in range(11):
        made.add("train", f"dog_{i:02d}.jpg", (2, BOX, True))
    made.add("train", "three.png", (1, BOX, True), (1, OTHER, True), (2, OTHER, True))
    made.add("val", "v1.jpg", (1, BOX, True))
    made.add("val", "v2.jpg", (2, BOX, True))
    return made


def check(coco: Coco, *arguments: object) -> Result:
    return wsis("check", coco.write(), "--format", "coco", *arguments)


def values(coco: Coco, *arguments: object) -> dict[str, Any]:
    return json.loads(check(coco, "--json", *arguments).out)


def test_what_is_there(coco: Coco) -> None:
    found = values(coco)
    assert found["ready"] and found["problems"] == [] and found["warnings"] == []
    assert found["parts"]["train"] == {
        "images": 24,
        "negatives": 0,
        "several_classes": 1,
        "with_boxes": 24,
        "several_of_a_class": 1,
        "objects": 26,
        "with_masks": 24,
    }
    assert [(c["name"], c["train"], c["train_objects"], c["val"]) for c in found["classes"]] == [
        ("cat", 13, 14, 1),
        (CLASSES[2], 12, 12, 1),
    ]
    assert found["images"]["width"] == [120, 120, 120] and found["images"]["pixels"] == {"RGB": 26}
    assert found["objects"]["longer_side"] == [40, 40, 50] and found["objects"]["number"] == 28
    assert any("data.supervision=box" in line for line in found["hints"])
    assert found["cost"]["least_seconds"] < found["cost"]["seconds"] < found["cost"]["most_seconds"]


@pytest.mark.parametrize("form", ["image", "box"])
def test_a_run_reckons_with_the_same_time(coco: Coco, form: str) -> None:
    """`wsis run --dry-run` reads some images, `wsis check` all: both ask one function, about the same ones."""
    coco.add("train", "many.png", *[(1, BOX, True)] * 9)
    found = values(coco, "--supervision", form)
    settings = (f"data.root={coco.root}", "data.format=coco", f"data.supervision={form}")
    config = load_config("voc_lite", settings)
    cost = run_cost(config, data_size(config, survey(config.data, True)), 1.0)
    assert cost is not None and found["cost"]["seconds"] == pytest.approx(cost.seconds)
    assert found["cost"]["disk_bytes"] == pytest.approx(cost.disk_bytes)


def test_the_text_is_a_verdict_and_tables_of_80_columns(coco: Coco) -> None:
    text = done(check(coco)).out
    lines = text.splitlines()
    assert lines[0].startswith("ready to train: 24 train and 2 val images, 2 classes, learned from")
    assert max(map(len, lines[:-1])) <= 80
    assert re.search(r"^images +24 +2$", text, re.MULTILINE)
    assert re.search(r"^cat +13 +1 +14 +1$", text, re.MULTILINE)
    assert re.search(r"^time: about .* min \(.* to .*\) with \d+ free cores?$", text, re.MULTILINE)
    assert "\nfor 4 outer iterations; other work on the machine makes it longer\n" in text
    assert (
        lines[-1]
        == f"next: wsis run voc_lite --name my-data --set 'data.root={coco.root}' --set data.format=coco "
        "--set data.supervision=box"  # as its hint says
    )


def test_quiet_says_what_is_wrong_alone(coco: Coco) -> None:
    ready = wsis("-q", "check", coco.write(), "--format", "coco")
    assert ready.code == 0 and ready.out.startswith("ready to train: 24 train and 2 val images")
    assert "next:" not in ready.out and "hints" not in ready.out and "time" not in ready.out
    coco.add("train", "bad.jpg", (1, BOX, True))
    (coco.root / "train" / "bad.jpg").write_text("I am not an image")
    damaged = check(coco, "-q")
    head, problems, *warnings = damaged.out.strip().split("\n\n")
    assert damaged.code == 1 and head == "cannot train: 1 problem"
    assert problems.startswith("problems (1):") and all(one.startswith("warnings (") for one in warnings)


def test_a_negative_and_no_masks_on_val(coco: Coco) -> None:
    coco.add("train", "field.jpg")
    for one in coco.trees["val"]["annotations"]:
        del one["segmentation"]
    found = values(coco)
    assert found["ready"] and found["parts"]["train"]["negatives"] == 1
    assert found["parts"]["val"]["with_masks"] == 0
    assert any("val has no masks: no mAP is measured" in line for line in found["warnings"])
    assert found["cost"]["seconds"] > 0


def test_copies_are_named(coco: Coco) -> None:
    coco.add("val", "again.jpg", (1, BOX, True), seed=1)  # as cat_00.jpg
    coco.add("train", "twice.jpg", (2, BOX, True), seed=2)  # as cat_01.jpg, and its label is another
    found = values(coco)
    assert found["ready"]
    assert found["copies"]["train_and_val"] == [["cat_00", "again"]]
    assert found["copies"]["other_labels"] == [["cat_01", "twice"]]
    warnings = "\n".join(found["warnings"])
    assert "the same file in train and val, 1 time: cat_00 = again" in warnings
    assert "the same file under different labels: cat_01 = twice" in warnings


def test_classes_that_few_or_no_images_show(coco: Coco) -> None:
    for part in coco.trees.values():
        part["categories"].append({"id": 3, "name": "owl"})
    coco.add("train", "owl.jpg", (3, BOX, True))
    warnings = values(coco)["warnings"]
    assert "few train images show owl (1): expect little of it" in warnings
    assert "no val image shows owl: not measured" in warnings
    assert any(
        "no train image shows yeti" in w
        for w in values(coco, "--set", "data.classes=[cat,yeti,owl,'<b>dog & co</b>']")["warnings"]
    )


def test_objects_too_small_for_the_network(coco: Coco) -> None:
    for i in range(20):
        coco.add("train", f"small{i}.jpg", (1, [5, 5, 6, 6], True))
    assert any("20 of 48 objects are under 16 pixels" in line for line in values(coco)["warnings"])


def test_masks_without_a_pixel_are_counted(coco: Coco) -> None:
    """Of one and two points, and thinner than a pixel: their objects keep their boxes and labels."""
    coco.add("val", "v3.jpg", *[(1, BOX, True)] * 4)
    coco.add("train", "thin.jpg", (1, BOX, True), (2, OTHER, True))
    thin = ([[10, 10]], [[10, 10, 50, 40]], [[10.1, 10.1, 10.3, 10.1, 10.2, 10.2]])
    for one, polygons in zip(coco.trees["val"]["annotations"][2:], thin, strict=False):
        one["segmentation"] = polygons
    coco.trees["train"]["annotations"][-1]["segmentation"] = thin[1]
    found = values(coco)
    assert found["masks"] == {"empty": 4} and found["parts"]["train"]["objects"] == 28
    line = "4 masks without a pixel, as of a polygon of one or two points: left out, not measured"
    assert found["ready"] and found["warnings"] == [line]
    assert line in " ".join(done(check(coco)).out.split())


def test_a_class_that_no_image_lacks_is_a_problem(coco: Coco) -> None:
    refused = check(
        coco,
        "--set",
        "data.classes=[cat]",
        "--set",
        "data.on_unknown_class=ignore",
        "--set",
        "data.on_empty=drop",
    )
    assert refused.code == 1
    assert refused.out.startswith("cannot train: 1 problem\n")
    assert "'cat'" in refused.out and "data.supervision=box" in refused.out


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "expected a COCO results JSON"),
        ('{"a": 1}', "expected one JSON list"),
        ("[]", "expected entries, got none"),
    ],
)
def test_proposals_that_a_run_would_refuse_are_a_problem(
    coco: Coco, tmp_path: Path, text: str | None, found: str
) -> None:
    file = tmp_path / "proposals.json"
    if text is not None:
        file.write_text(text)
    given = ("--set", "proposals.source=coco_results", "--set", f"proposals.file={file}")
    result = check(coco, *given)
    assert result.code == 1
    problem = " ".join(result.out.split("problems (1):")[1].split("hints")[0].split())
    assert "cannot train: 1 problem" in result.out and found in problem


def test_every_problem_is_counted_and_the_first_are_shown(coco: Coco) -> None:
    for i in range(12):
        (coco.root / "train" / f"cat_{i:02d}.jpg").write_bytes(b"no image")
    refused = check(coco)
    assert refused.code == 1 and refused.out.startswith("cannot train: 12 problems\n")
    assert "cat_00.jpg" in refused.out and "… and 2 more (--json lists all)" in refused.out
    found = values(coco)
    assert not found["ready"] and len(found["problems"]) == 12 and found["parts"]["train"]["images"] == 12


def test_the_time_is_reckoned_alike_where_something_is_wrong(coco: Coco, tmp_path: Path) -> None:
    """Of what can be read, with the finer grid on which images of few superpixels, as these, are looked at."""
    whole = values(coco)["cost"]
    coco.add("train", "broken.jpg", (1, BOX, True))
    (coco.root / "train" / "broken.jpg").write_bytes(b"no image")
    found = values(coco)
    assert not found["ready"] and found["cost"] == whole
    lost = check(coco, "--set", f"proposals.contour_model={tmp_path / 'none.pt'}").out
    assert f"no estimate of the time: pretrained weights: no file {tmp_path / 'none.pt'}" in " ".join(
        lost.split()
    )


class Page(HTMLParser):
    """Checks that tags nest; collects images, captions and headings."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def test_the_page_shows_every_class_and_nothing_raw(coco: Coco, tmp_path: Path) -> None:
    coco.add("train", 'x"><script>alert(1)<!--.jpg', (1, BOX, True))
    out = done(check(coco, "--out", tmp_path / "page")).out
    assert out.endswith(f"page: {tmp_path / 'page' / 'check.html'}\n")
    raw = (tmp_path / "page" / "check.html").read_text()
    page = Page(raw)
    assert len(page.images) == 27 and all((i["src"] or "").startswith("data:image/jpeg") for i in page.images)
    assert "<script" not in raw and 'x"><script>alert(1)<!--' in [i["alt"] for i in page.images]
    assert CLASSES[2] in page.text and "ready to train" in page.text and "Train: 25 of 25 images" in page.text
    assert "http" not in re.sub(r"base64,[^\"]*", "", raw)  # nothing from elsewhere
    assert len(raw) < 1_000_000


def inventory(labels: list[list[int]]) -> Inventory:
    images = [
        InventoryImage(f"{i}", "train", f"{i}.jpg", 9, 9, np.array(one), np.zeros((0, 4)), np.zeros(0), 1, "", "RGB",
                      np.zeros((16, 16), np.uint8), False)
        for i, one in enumerate(labels)
    ]  # fmt: skip
    return Inventory(("a", "b", "c"), tuple(images), ())


def test_a_sheet_shows_rare_classes_and_negatives() -> None:
    found = inventory([[1]] * 500 + [[2]] + [[]] + [[1]] * 500 + [[1, 3]])
    chosen = sample(found, 30)
    shown = [tuple(one.labels.tolist()) for one in chosen]
    assert len(chosen) == 20 and len({one.image_id for one in chosen}) == 20
    assert {(2,), (), (1, 3), (1,)} == set(shown)
    places = sorted(int(one.image_id) for one in chosen if one.labels.tolist() == [1])
    assert places[0] < 100 and places[-1] > 850  # spread over all


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 2, "wsis check: expected a folder of data, or a configuration, got 'nowhere'"),
        ([".", "--format", "tarot"], 2, "data.format"),
        (["."], 1, "expected labels of a known kind, got 0 images"),
        ([".", "--out", "sub"], 2, "--out: expected a place outside the data in"),
    ],
)
def test_what_cannot_be_checked(
    tmp_path: Path, monkeypatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = wsis("check", *arguments)
    assert refused.code == code and message in refused.out + refused.err
    assert not (tmp_path / "sub").exists()


def test_a_folder_a_class_is_found_by_itself(coco: Coco, tmp_path: Path) -> None:
    """Folders of classes and of negatives; the command that is printed runs them."""
    for i, name in enumerate(["owl/a", "owl/b", "fox/a", "none/c"]):
        coco.add("train", f"{name}.jpg", seed=i)
    (coco.root / "train" / "owl").parent.rename(tmp_path / "it's")
    for file in (tmp_path / "it's").glob("*.*"):
        file.unlink()
    result = done(wsis("check", tmp_path / "it's"))
    assert re.search(r"^images +4 +0$", result.out, re.MULTILINE)
    assert re.search(r"^of them negatives .* +1 +0$", result.out, re.MULTILINE)
    assert re.search(r"^owl +2 +0$", result.out, re.MULTILINE)
    words = shlex.split(result.out.splitlines()[-1])
    assert words[:4] == ["next:", "wsis", "run", "voc_lite"]
    assert load_config("voc_lite", [words[words.index("--set") + 1]]).data.root == tmp_path / "it's"


def test_a_configuration_can_be_checked() -> None:
    found = json.loads(
        done(
            wsis("check", "demo", "--json", "--set", "data.scenes.train=6", "--set", "data.scenes.val=3")
        ).out
    )
    assert found["parts"]["train"]["images"] == 6 and found["parts"]["val"]["with_masks"] == 3
    assert found["data"]["root"] == "generated scenes"
