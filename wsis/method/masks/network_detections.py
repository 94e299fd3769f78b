"""What the prediction network says of one image; N detections, C classes, H W image."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.paste import paste_masks


@dataclass(frozen=True, eq=False)
class NetworkDetections:
    """Detections of one image, best score first.

    | field               | type            | meaning                                                   |
    | ------------------- | --------------- | --------------------------------------------------------- |
    | class_probabilities | float32 [N,C+1] | of the region; column 0 is background; rows sum to 1       |
    | boxes               | float32 [N, 4]  | xyxy in original pixels, inside the image                  |
    | masks               | uint8 [N,28,28] | soft mask of the label inside the box, 255 = foreground    |
    | labels              | int32 [N]       | predicted class, 1..C                                      |
    | scores              | float32 [N]     | probability of the label                                   |
    | size                | (int, int)      | height, width of the original image                        |
    """

    class_probabilities: NDArray[np.float32]
    boxes: NDArray[np.float32]
    masks: NDArray[np.uint8]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    size: tuple[int, int]

    @classmethod
    def none(cls, size: tuple[int, int]) -> Self:
        """Of an image (H, W) in which nothing is found."""
        labels, scores = np.zeros(0, np.int32), np.zeros(0, np.float32)
        boxes, masks = np.zeros((0, 4), np.float32), np.zeros((0, 28, 28), np.uint8)
        return cls(np.zeros((0, 1), np.float32), boxes, masks, labels, scores, size)

    @classmethod
    def from_record(cls, record: Mapping[str, np.ndarray]) -> Self:
        """Inverse of :meth:`to_record`."""
        height, width = record["size"].tolist()
        return cls(**{name: record[name] for name in _ROWS}, size=(height, width))

    def to_record(self) -> dict[str, np.ndarray]:
        """The arrays of a stored record (`data_contracts.schemas.DETECTIONS`)."""
        return {**{name: getattr(self, name) for name in _ROWS}, "size": np.array(self.size, np.int32)}

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: NDArray[np.generic]) -> Self:
        """Some of them: bool [N], or int [n] in the order wanted."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _ROWS})

    def sure(self, score: float) -> Self:
        """Those of at least a score."""
        return self.take(self.scores >= np.float32(score))

    def pasted(self) -> NDArray[np.bool_]:
        """Masks bool [N, H, W] at the image's size."""
        return paste_masks(self.masks, self.boxes, self.size)


_ROWS = [field.name for field in fields(NetworkDetections) if field.name != "size"]
