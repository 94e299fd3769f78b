"""A run: its configuration, its plan, and the runner that walks the plan against a store."""
