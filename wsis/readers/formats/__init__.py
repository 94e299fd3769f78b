"""Data formats, a module and a row each, in the order in which they are looked for (`folders` after all others)."""

from wsis.readers.formats import class_folders, coco, csv_labels, voc, yolo

FORMATS = {
    "voc": voc.FORMAT,
    "coco": coco.FORMAT,
    "yolo": yolo.FORMAT,
    "csv": csv_labels.FORMAT,
    "folders": class_folders.FORMAT,
}
"""`data.format` -> how such data is recognised and opened; `scenes` beside them is generated."""
