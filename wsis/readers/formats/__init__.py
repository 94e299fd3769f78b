"""Data formats, a module and a row each, in the order in which they are looked for (`LAST` after all others)."""

from wsis.readers.formats import (
    class_folders,
    coco,
    csv_labels,
    instances,
    label_studio,
    labelme,
    via,
    voc,
    yolo,
)

FORMATS = {
    "voc": voc.FORMAT,
    "coco": coco.FORMAT,
    "yolo": yolo.FORMAT,
    "labelme": labelme.FORMAT,
    "via": via.FORMAT,
    "label_studio": label_studio.FORMAT,
    "csv": csv_labels.FORMAT,
    "instances": instances.FORMAT,
    "folders": class_folders.FORMAT,
}
"""`data.format` -> how such data is recognised and opened; `scenes` beside them is generated."""

LAST = ("instances", "folders")
"""Formats told by the names of folders alone: beside boxes in files they are not looked for."""
