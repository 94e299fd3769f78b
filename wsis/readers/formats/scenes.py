"""Generated scenes as a data set: nothing on disk, the same pictures for the same settings.

Suffix: N instances.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsis.method.masks import rle
from wsis.method.scenes.scenes import SCENES_VERSION, Scene, SceneConfig, generate_scene
from wsis.readers.files.folder_files import sha256
from wsis.readers.shared.annotations import role_limit
from wsis.readers.shared.records import (
    ROLES,
    BoxChanges,
    ImageRecord,
    Outline,
    Role,
    Track,
    TruthRecord,
    untracked,
)

_KEPT = 160  # scenes, .3 MB each in the demo: a run looks at them to plan, to reckon and to store them


class SceneSettings(SceneConfig):
    """The section `data.scenes`: how many scenes, of what look. Image i of a part is a function of (seed, part, i): a
    longer set begins with a shorter one."""

    train: int = Field(96, ge=1, le=100_000, description="train images")
    val: int = Field(40, ge=1, le=100_000, description="val images")
    seed: int = Field(0, ge=0, lt=2**31, description="of what is drawn")


class SceneSource:
    """A `DatasetSource` of generated scenes, encoded as PNG. Classes take turns as the first instance's.

    Args:
        limit: train images to take (val: a quarter, at least 8); None: all.
        roles: the parts to give.
    """

    def __init__(
        self, scenes: SceneSettings, limit: int | None = None, roles: Sequence[Role] = ROLES
    ) -> None:
        self._scenes = scenes
        counts: dict[Role, int] = {"train": scenes.train, "val": scenes.val}
        if limit is not None:
            counts = {role: min(n, role_limit(role, limit)) for role, n in counts.items()}
        self._ids = {role: tuple(f"{role}_{i:05d}" for i in range(counts[role])) for role in roles}

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the class of index j is number j + 1."""
        return self._scenes.classes

    def digest(self) -> str:
        """sha256 of settings, version and number of images; the pictures follow from them."""
        content = {"scenes": self._scenes.model_dump(), "version": SCENES_VERSION, "ids": self._ids}
        return sha256(json.dumps(content, sort_keys=True).encode())

    def truth_digest(self, roles: Sequence[Role] = ROLES) -> str:
        """The same as `digest`: masks follow from the settings too."""
        return self.digest()

    def validate(self, track: Track = untracked) -> None:
        """Nothing to check: the settings were checked when they were made."""

    def notes(self) -> tuple[str, ...]:
        """Nothing is left open."""
        return ()

    def source_categories(self) -> Mapping[Role, Mapping[str, int | str]]:
        """None: the annotations name classes."""
        return {}

    def source_ids(self) -> Mapping[str, int | str]:
        """Scenes have no other ids."""
        return {}

    def tolerate(self) -> tuple[str, ...]:
        """Nothing can be wrong."""
        return ()

    def image_ids(self, split: Role) -> tuple[str, ...]:
        """Ids of one part, in order."""
        return self._ids.get(split, ())

    def outlines(self) -> Iterator[Outline]:
        """All scenes in order; as large as their pixels, which PNG makes fewer."""
        size = (self._scenes.height, self._scenes.width)
        for role, ids in self._ids.items():
            for image_id in ids:
                yield Outline(image_id, role, f"{image_id}.png", size, 3 * size[0] * size[1])

    def box_changes(self, split: Role) -> BoxChanges:
        """No box is changed."""
        return BoxChanges()

    def truth_ids(self, split: Role) -> tuple[str, ...]:
        """Every scene has masks."""
        return self.image_ids(split)

    def _place(self, image_id: str) -> tuple[Role, int]:
        role: Role = "train" if image_id.startswith("train_") else "val"
        if image_id not in self._ids.get(role, ()):
            raise KeyError(f"generated scenes: no image {image_id!r}")
        return role, int(image_id.rsplit("_", 1)[1])

    def _draw(self, image_id: str) -> tuple[Role, Scene]:
        role, number = self._place(image_id)
        return role, _scene(self._scenes, role, number)

    def labels_of(self, image_id: str) -> NDArray[np.int32]:
        """Classes of one image. KeyError if the id is not in the data set."""
        return np.array(_labels(self._scenes, *self._place(image_id)), dtype=np.int32)

    def image(self, image_id: str) -> ImageRecord:
        """One image. KeyError if the id is not in the data set."""
        role, scene = self._draw(image_id)
        _, png = cv2.imencode(".png", scene.image[:, :, ::-1])
        boxes = rle.bboxes(_masks(scene), scene.image.shape[:2])
        return ImageRecord(
            image_id=image_id,
            split=role,
            file_name=f"{image_id}.png",
            encoded=png.tobytes(),
            height=scene.image.shape[0],
            width=scene.image.shape[1],
            labels=self.labels_of(image_id),
            boxes=boxes,
            box_labels=scene.labels,
        )

    def truth_of(self, image_id: str) -> TruthRecord:
        """Instances of one image (evaluation only)."""
        role, scene = self._draw(image_id)
        void = np.zeros(scene.image.shape[:2], dtype=bool)
        return TruthRecord.of(image_id, role, _masks(scene), scene.labels, void)


@lru_cache(maxsize=_KEPT)
def _scene(settings: SceneSettings, role: Role, number: int) -> Scene:
    rng = np.random.default_rng([settings.seed, ROLES.index(role), number])
    return generate_scene(rng, settings, number % len(settings.classes) + 1)


@lru_cache(maxsize=100_000)
def _labels(settings: SceneSettings, role: Role, number: int) -> tuple[int, ...]:
    return tuple(np.unique(_scene(settings, role, number).labels).tolist())


def _masks(scene: Scene) -> list[bytes]:
    numbers = np.arange(1, len(scene.labels) + 1, dtype=np.int32)[:, None, None]
    return rle.encode_many(scene.instance_map[None] == numbers)
