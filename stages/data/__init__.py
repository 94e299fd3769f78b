"""Stages that read the user's data into the store."""
