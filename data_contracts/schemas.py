"""Tables of what each per-image artefact holds: one `Schema` a contract, one `Field` an array.

A shape is a tuple of integers and symbols; a symbol stands for one length within a record, so two fields
that share `N` must agree. Suffixes: N instances or peaks, P proposals, S superpixels, E superpixel-graph edges,
U unique samples, M labelled proposals of all samples, A annotated classes, H W image, h w working size.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_contracts.errors import SchemaError


@dataclass(frozen=True)
class Field:
    """One array of a record."""

    dtype: str
    shape: tuple[int | str, ...]
    doc: str


@dataclass(frozen=True)
class Schema:
    """The arrays of one record of a contract. `version` is raised when a reader would misread older data."""

    name: str
    version: int
    fields: Mapping[str, Field]

    def validate(self, record: Mapping[str, np.ndarray], where: str) -> None:
        """Check names, dtypes, shapes and finiteness of one record.

        Args:
            where: what the record belongs to (image id), for the message.

        Raises:
            SchemaError: naming `where`, the field, what was expected and what came.
        """
        if set(record) != set(self.fields):
            missing, extra = sorted(set(self.fields) - set(record)), sorted(set(record) - set(self.fields))
            raise SchemaError(f"{self.name} of {where}: missing fields {missing}, unknown fields {extra}")
        sizes: dict[str, tuple[str, int]] = {}
        for name, field in self.fields.items():
            self._validate_field(name, field, np.asarray(record[name]), where, sizes)

    def _validate_field(
        self, name: str, field: Field, value: np.ndarray, where: str, sizes: dict[str, tuple[str, int]]
    ) -> None:
        place = f"{self.name} of {where}: field '{name}'"
        if value.dtype != np.dtype(field.dtype):
            raise SchemaError(f"{place}: expected dtype {field.dtype}, got {value.dtype}")
        if value.ndim != len(field.shape):
            raise SchemaError(f"{place}: expected shape {field.shape}, got {value.shape}")
        for length, expected in zip(value.shape, field.shape, strict=True):
            if isinstance(expected, int):
                wanted, because = expected, "the schema"
            else:
                because, wanted = sizes.setdefault(expected, (name, length))
            if length != wanted:
                raise SchemaError(
                    f"{place}: expected shape {field.shape} with {expected} = {wanted} (from {because}), "
                    f"got {value.shape}"
                )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise SchemaError(f"{place}: {int((~np.isfinite(value)).sum())} values are NaN or infinite")


SCHEMAS: dict[str, Schema] = {}
"""Every contract by its name."""


def _contract(name: str, version: int, fields: Mapping[str, Field]) -> Schema:
    """A schema that `SCHEMAS` knows."""
    if name in SCHEMAS:
        raise ValueError(f"contract {name!r}: expected a new name, got one that is taken")
    return SCHEMAS.setdefault(name, Schema(name, version, fields))


DATASET = _contract(
    "dataset",
    2,
    {
        "split": Field("uint8", ("L1",), "UTF-8 name of the split: train or val"),
        "file_name": Field("uint8", ("L2",), "UTF-8 path of the image relative to the data root"),
        "encoded": Field(
            "uint8",
            ("L3",),
            "the image file's bytes as the user gave them; of 16 bits a channel as 8-bit PNG",
        ),
        "size": Field("int32", (2,), "height, width in pixels after EXIF rotation"),
        "labels": Field("int32", ("C",), "annotated classes of the image, 1..C, sorted, unique"),
    },
)

BOXES = _contract(
    "boxes",
    1,
    {
        "boxes": Field("float32", ("N", 4), "annotated boxes, xyxy pixels, x2 y2 exclusive"),
        "box_labels": Field("int32", ("N",), "class of each box, 1..C"),
    },
)

GROUND_TRUTH = _contract(
    "ground_truth",
    1,
    {
        "split": Field("uint8", ("L1",), "UTF-8 name of the split"),
        "size": Field("int32", (2,), "height, width"),
        "labels": Field("int32", ("N",), "class of each instance, 1..C"),
        "boxes": Field("float32", ("N", 4), "tight boxes of the masks, xyxy, x2 y2 exclusive"),
        "mask_offsets": Field("int64", ("N+1",), "start of each mask in mask_bytes"),
        "mask_bytes": Field("uint8", ("L2",), "COCO compressed run lengths, one after another"),
        "void": Field(
            "uint8", ("L3",), "COCO compressed run lengths of the pixels without label (255 in VOC)"
        ),
    },
)

CORRECTIONS = _contract(
    "corrections",
    1,
    {
        "size": Field("int32", (2,), "height, width"),
        "labels": Field("int32", ("N",), "class of each instance, 1..C; none: nothing is there"),
        "mask_offsets": Field("int64", ("N+1",), "start of each mask in mask_bytes"),
        "mask_bytes": Field("uint8", ("L",), "COCO compressed run lengths, one after another"),
    },
)

SEEDS = _contract(
    "seeds",
    2,
    {
        "peaks": Field("int32", ("N", 3), "class 1..C, row, column in original pixels"),
        "scores": Field("float32", ("N",), "class response at the peak"),
        "boxes": Field("float32", ("G", 4), "box of each seed, G = N; under image-level labels G = 0"),
        "peak_response_maps": Field("uint8", ("N", "h", "w"), "response over the image, maximum 255"),
        "class_response_maps": Field("uint8", ("A", "h2", "w2"), "max(0, response) / maximum * 255"),
        "response_classes": Field("int32", ("A",), "class of each class response map, 1..C"),
    },
)

PROPOSALS = _contract(
    "proposals",
    1,
    {
        "superpixels": Field("uint16", ("h", "w"), "superpixel ids 0..S-1 at the working size"),
        "num_superpixels": Field("int32", (1,), "S"),
        "membership_bits": Field("uint8", ("P", "S/8"), "bit s of row p: superpixel s belongs to proposal p"),
        "scores": Field("float32", ("P",), "objectness, descending, in (0, 1]"),
        "boxes": Field("float32", ("P", 4), "xyxy in original pixels, x2 y2 exclusive"),
        "areas": Field("float32", ("P",), "share of the image, (0, 1]"),
        "edges": Field("int32", ("E", 2), "neighbouring superpixels a < b"),
        "edge_contours": Field("float32", ("E",), "sum of contour strength along the common boundary"),
        "edge_lengths": Field("float32", ("E",), "length of the common boundary in pixel pairs"),
        "size": Field("int32", (2,), "height, width of the original image"),
    },
)

PROPOSAL_DETECTIONS = _contract(
    "proposal_detections",
    1,
    {
        "proposal_ids": Field("int32", ("N",), "row in the image's proposals"),
        "labels": Field("int32", ("N",), "class, 1..C"),
        "scores": Field("float32", ("N",), "confidence, any monotone scale"),
    },
)

PSEUDO_LABELS = _contract(
    "pseudo_labels",
    2,
    {
        "multiplicities": Field("int32", ("U",), "how many of the K samples equal this one; sums to K"),
        "offsets": Field("int32", ("U+1",), "start of each unique sample in the three arrays below"),
        "proposal_ids": Field("int32", ("M",), "row in the image's proposals"),
        "classes": Field("int32", ("M",), "class, 1..C"),
        "scores": Field("float32", ("M",), "score margin over background"),
        "diversity": Field(
            "float32", (1,), "mean over pairs of the K samples of 1 - IoU of their label maps"
        ),
        "distinct": Field("int32", (1,), "different label sets among the K, U"),
    },
)

DETECTIONS = _contract(
    "detections",
    1,
    {
        "class_probabilities": Field("float32", ("N", "C+1"), "column 0 is background; rows sum to 1"),
        "boxes": Field("float32", ("N", 4), "xyxy in original pixels"),
        "masks": Field("uint8", ("N", 28, 28), "soft mask of the label inside the box, 255 = foreground"),
        "labels": Field("int32", ("N",), "predicted class, 1..C"),
        "scores": Field("float32", ("N",), "probability of the label, descending"),
        "size": Field("int32", (2,), "height, width of the original image"),
    },
)


def text_to_array(text: str) -> np.ndarray:
    """UTF-8 bytes of `text` as uint8 [L]."""
    return np.frombuffer(text.encode(), dtype=np.uint8)


def array_to_text(array: np.ndarray) -> str:
    """The text of uint8 [L] UTF-8 bytes."""
    return array.tobytes().decode()
