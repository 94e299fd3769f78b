"""Readers of the user's data: folders of classes, tables, YOLO, COCO, VOC, drawings, generated scenes.

Every reader is a `records.DatasetSource`. Nothing outside this package looks at the data root.
"""
