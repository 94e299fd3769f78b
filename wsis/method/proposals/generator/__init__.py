"""From contours to ranked proposals: hierarchies, grouping, ranking."""
