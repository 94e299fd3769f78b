"""What reading a large COCO JSON takes, beside `json.loads` of the same file: CPU seconds and peak memory.

    python benchmarks/coco_reading.py                # COCO train2017 in size: 120,000 images, 900,000 annotations
    python benchmarks/coco_reading.py --images 5000  # annotations in proportion

The file is synthetic: polygons of 4 to 200 points with two decimals, one object in a hundred a crowd of run lengths.
Each reading is a child process of its own, whose peak is the kernel's (VmHWM); what the imports alone take stands
beside it. `labels` is all that a run without masks asks of the file, `masks` a pass over every mask's digest as well.
With --limits the exit code is 1 where the labels take above 15 s or 600 MB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_ANNOTATIONS_AN_IMAGE = 7.5
_WIDTH, _HEIGHT, _CLASSES = 640, 480, 80
_POOL = 3000  # different objects
_SECONDS, _MEGABYTES = 15.0, 600.0
_CHILD = """
import sys, time
from pathlib import Path
def peak():  # not ru_maxrss: it remembers the process that began this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
what, root = sys.argv[1], Path(sys.argv[2])
{imports}
before, used = time.process_time(), peak()
{do}
print(time.process_time() - before, peak(), used)
"""
_OURS = ("from wsis.readers.config import DataConfig, open_source",)
_READINGS = {
    "json.loads": ("import json", "json.loads((root / 'annotations/instances_train.json').read_bytes())"),
    "labels": (*_OURS, "open_source(DataConfig(root=root, val_split=None)).image_ids('train')"),
    "masks": (*_OURS, "open_source(DataConfig(root=root, val_split=None)).truth_digest(('train',))"),
}


def write_coco(root: Path, images: int, annotations: int, files: bool = True, seed: int = 0) -> Path:
    """Write `annotations/instances_train.json` and, if asked, a file for each image, which is no image; the path."""
    rng = np.random.default_rng(seed)
    pool = [_object(rng) for _ in range(_POOL)]
    path = root / "annotations" / "instances_train.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        stream.write('{"info": {"year": 2026, "description": "synthetic"}, "images": [')
        stream.write(", ".join(_image(number) for number in range(1, images + 1)))
        stream.write('], "annotations": [')
        chosen, owners = rng.integers(0, _POOL, annotations), rng.integers(1, images + 1, annotations)
        for number, (which, owner) in enumerate(zip(chosen.tolist(), owners.tolist(), strict=True)):
            comma = ", " if number else ""
            stream.write(f'{comma}{{{pool[which]}, "image_id": {owner}, "id": {number + 1}}}')
        named = [{"id": i, "name": f"class {i}", "supercategory": "things"} for i in range(1, _CLASSES + 1)]
        stream.write(f'], "categories": {json.dumps(named)}}}')
    if files:
        folder = root / "images"
        folder.mkdir()
        for number in range(1, images + 1):
            (folder / f"{number:012d}.jpg").write_bytes(b"x")
    return path


def _image(number: int) -> str:
    return json.dumps(
        {
            "license": 3,
            "file_name": f"{number:012d}.jpg",
            "coco_url": f"http://images.example.org/train/{number:012d}.jpg",
            "height": _HEIGHT,
            "width": _WIDTH,
            "date_captured": "2013-11-14 11:18:45",
            "id": number,
        }
    )


def _object(rng: np.random.Generator) -> str:
    """The fields of an annotation but its ids, without braces."""
    width, height = rng.uniform(8, 300, 2)
    x, y = rng.uniform(0, [_WIDTH - width, _HEIGHT - height])
    crowd = rng.random() < 0.01
    fields: dict[str, object] = {"area": round(width * height * 0.6, 2), "iscrowd": int(crowd)}
    if crowd:
        runs = rng.multinomial(_WIDTH * _HEIGHT, np.full(301, 1 / 301))
        fields["segmentation"] = {"counts": runs.tolist(), "size": [_HEIGHT, _WIDTH]}
    else:
        fields["segmentation"] = list(_polygons(rng, x, y, width, height))
    fields["bbox"] = [round(float(v), 2) for v in (x, y, width, height)]
    fields["category_id"] = int(rng.integers(1, _CLASSES + 1))
    return json.dumps(fields)[1:-1]


def _polygons(
    rng: np.random.Generator, x: float, y: float, width: float, height: float
) -> Iterator[list[float]]:
    for _ in range(1 + (rng.random() < 0.1)):
        points = int(np.clip(rng.lognormal(2.9, 0.7), 4, 200))
        angle = np.sort(rng.uniform(0, 2 * np.pi, points))
        radius = rng.uniform(0.6, 1, points) / 2
        places = np.stack(
            [x + width * (0.5 + radius * np.cos(angle)), y + height * (0.5 + radius * np.sin(angle))], 1
        )
        yield [round(float(v), 2) for v in places.ravel()]


def measure(what: str, root: Path) -> tuple[float, float, float]:
    """CPU seconds, peak MB, MB of the imports of one reading in a process of its own."""
    imports, do = _READINGS[what]
    code = _CHILD.format(imports=imports, do=do)
    done = subprocess.run(
        [sys.executable, "-c", code, what, str(root)],
        check=True,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    seconds, peak, used = map(float, done.stdout.split())
    return seconds, peak, used


def report(images: int, limits: bool, repeats: int = 1) -> int:
    """Print a row for each reading; 1 where a limit is broken."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        size = write_coco(root, images, round(images * _ANNOTATIONS_AN_IMAGE)).stat().st_size
        print(f"{images} images, {round(images * _ANNOTATIONS_AN_IMAGE)} annotations, {size / 1e6:.0f} MB")
        print("| reading | CPU s | over json.loads | peak MB | of them imports |\n|---|---:|---:|---:|---:|")
        base, broken = 0.0, False
        for what in _READINGS:
            seconds, peak, used = min(measure(what, root) for _ in range(repeats))
            base = base or seconds
            print(f"| {what} | {seconds:.1f} | {seconds / base:.2f} | {peak:.0f} | {used:.0f} |", flush=True)
            broken |= what == "labels" and (seconds > _SECONDS or peak > _MEGABYTES)
    return int(limits and broken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=120_000)
    parser.add_argument("--repeats", type=int, default=1, help="the fastest of these counts")
    parser.add_argument("--limits", action="store_true")
    arguments = parser.parse_args()
    return report(arguments.images, arguments.limits, arguments.repeats)


if __name__ == "__main__":
    sys.exit(main())
