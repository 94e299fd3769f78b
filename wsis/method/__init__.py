"""The method: arrays and tensors in and out, no files. docs/method.md maps each equation to its code."""
