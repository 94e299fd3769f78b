"""Stages of peak response maps: classifier, seeds, baseline."""
