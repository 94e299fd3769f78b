"""Sources of imported proposals: a row each. `proposals.source` takes their names, and `generate`."""

from dataclasses import dataclass
from functools import partial

from wsis.method.proposals import import_cob, import_mcg, import_sam
from wsis.method.proposals.imports.mat_files import load_variables
from wsis.method.proposals.imports.sam import sam_masks
from wsis.readers.proposal_files import FileAnImage, ProposalPlace, ResultsFile


@dataclass(frozen=True)
class ProposalSource:
    """Proposals that another program made.

    Attributes:
        place: how the files lie, and how they are read.
        supervision: what had labels behind the sets: the lineage of every later artefact says it.
        ranking: what had labels behind the order that the files give them.
    """

    place: ProposalPlace
    supervision: str
    ranking: str


_BOUNDARIES = "BSDS500 boundaries, or what their author names"
_MASKS = "published ones learned it from VOC masks"
_ANY = "whatever trained their source, masks not excluded"
_SAM = "Segment Anything, trained on the masks of SA-1B"

SOURCES = {
    "mcg_mat": ProposalSource(
        FileAnImage(import_mcg, partial(load_variables, names=("superpixels", "labels", "scores"))),
        _BOUNDARIES,
        _MASKS,
    ),
    "cob_mat": ProposalSource(
        FileAnImage(import_cob, partial(load_variables, names=("maskmat",))), _BOUNDARIES, _MASKS
    ),
    "coco_results": ProposalSource(ResultsFile(), _ANY, _ANY),
    "sam": ProposalSource(FileAnImage(import_sam, sam_masks, ".json"), _SAM, _SAM),
}
