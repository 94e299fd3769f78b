"""Multiscale combinatorial grouping: object proposals as sets of superpixels."""

from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.proposals.config import MCGConfig
from wsis.method.proposals.generator.generation import generate
from wsis.method.proposals.imports.coco_results import import_coco_results
from wsis.method.proposals.imports.complete import ImportSettings
from wsis.method.proposals.imports.published import import_cob, import_mcg
from wsis.method.proposals.imports.sam import import_sam

__all__ = [
    "ImportSettings",
    "MCGConfig",
    "ProposalSet",
    "generate",
    "import_cob",
    "import_coco_results",
    "import_mcg",
    "import_sam",
]
