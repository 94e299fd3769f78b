"""Configurations: data, not code. One YAML a run; MMDetection configs in mmdet/."""
