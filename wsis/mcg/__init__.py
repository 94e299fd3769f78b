"""Multiscale combinatorial grouping: object proposals as sets of superpixels."""

from wsis.mcg.config import MCGConfig
from wsis.mcg.generation import generate
from wsis.mcg.proposal_set import ProposalSet

__all__ = ["MCGConfig", "ProposalSet", "generate"]
