"""The method: arrays and tensors in, arrays and tensors out; no files, no orchestration.

Arun, Jawahar and Kumar, "Weakly Supervised Instance Segmentation by Learning Annotation Consistent
Instances", ECCV 2020. docs/method.md maps each equation to code and test.
"""
