"""Stored artefacts as typed things: data sets, runs, image names."""
