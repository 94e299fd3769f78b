"""Stages of the prediction distribution: Mask R-CNN and its detections."""
