"""The stage that scores."""
