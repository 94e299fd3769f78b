"""Two stages whose sums are long enough for several threads to share them: a training, and records of images.

Run as a program it executes one: `python -m tests.engine.arithmetic_stages STORE training|images EXECUTION_AS_JSON`.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from data_contracts.schemas import Field, Schema
from data_contracts.store import Store
from wsis.engine.per_image import write_records
from wsis.engine.progress import Progress
from wsis.engine.stage import Artefact, Execution, Stage, StageConfig, StageContext, execute
from wsis.engine.training import finish, run_steps

SCHEMA = Schema("sums", 1, {"values": Field("float32", ("N",), "sums of noise")})
SIDE = 320


class Config(StageConfig):
    images: int = 6


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)


def sums(image_ids: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
    """By torch, BLAS and OpenCV."""
    for image_id in image_ids:
        picture = noise(int(image_id))
        tensor = torch.from_numpy(picture)[None, None]
        features = torch.nn.functional.conv2d(tensor, torch.ones(4, 1, 5, 5) / 3)
        blurred = cv2.GaussianBlur(picture, (0, 0), 3)
        values = [
            features.sum(),
            tensor.exp().sum(),
            (picture @ picture).sum(),
            blurred.sum(),
            np.linalg.norm(picture),
        ]
        yield {"values": np.array([float(v) for v in values], np.float32)}


def run_images(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    ids = [str(i) for i in range(config.images)]
    write_records(context, SCHEMA, ids, sums, context.execution.workers, 2)


def run_training(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    torch.manual_seed(context.seed)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step(i: int) -> dict[str, float]:
        picture = torch.from_numpy(noise(i) @ noise(i + 1))[None, None] / SIDE
        loss = (model(picture) - picture[:, :, 2:-2, 2:-2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    run_steps(context, {"model": model, "optimizer": optimizer}, 6, step, log_every=3)
    finish(context, model.state_dict())


IMAGES = Stage("toy_images", 1, Config, run_images, (), "sums")
TRAINING = Stage("toy_training", 1, Config, run_training, (), "weights", threaded=True)


def main() -> None:
    store, which, execution = sys.argv[1:4]
    stage = {"images": IMAGES, "training": TRAINING}[which]
    settings = Execution(device="cpu", **json.loads(execution))
    artefact = execute(
        stage, Config(), {}, Store(Path(store)), execution=settings, progress=Progress()
    ).artefact
    files = {name: entry.sha256 for name, entry in artefact.manifest.files.items()}
    print(json.dumps([artefact.fingerprint, artefact.manifest.threads, artefact.manifest.environment, files]))


if __name__ == "__main__":
    main()
