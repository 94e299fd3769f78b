"""What the readers of all formats share: records, labels, splits, names."""
