"""Stages of the conditional distribution: its network and the samples drawn from it."""
