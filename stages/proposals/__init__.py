"""Stages of segmentation proposals."""
