"""Multiscale combinatorial grouping: object proposals as sets of superpixels."""

from wsis.mcg.coco_results import import_coco_results
from wsis.mcg.config import MCGConfig
from wsis.mcg.generation import generate
from wsis.mcg.imports import ImportSettings
from wsis.mcg.proposal_set import ProposalSet
from wsis.mcg.published import import_cob, import_mcg

__all__ = [
    "ImportSettings",
    "MCGConfig",
    "ProposalSet",
    "generate",
    "import_cob",
    "import_coco_results",
    "import_mcg",
]
