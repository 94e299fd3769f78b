"""Readers of the user's data: VOC devkits, COCO instances JSON, generated scenes.

Every reader is a `records.DatasetSource`. Nothing outside this package looks at the data root.
"""
