"""Contours: the learned detector and its training."""
