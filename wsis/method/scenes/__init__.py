"""Generated scenes with exact instances, for the demo and tests."""
