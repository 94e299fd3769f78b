"""Proposals for annotated boxes: each box gets candidates of its own, which lie in it and reach its sides."""
