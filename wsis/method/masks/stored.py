"""Stored proposals as masks: the one way from proposal ids of any record to pixels.

Suffix legend: n ids, P proposals, S superpixels, H W original image, h w working size.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.superpixels import proposal_masks, unpack_membership


def stored_masks(proposal_ids: NDArray[np.integer], proposals: Mapping[str, np.ndarray]) -> NDArray[np.bool_]:
    """Masks bool [n, H, W] of some proposals of an image at its original size.

    Args:
        proposal_ids: int [n], rows of the image's (unfiltered) proposals; may repeat.
        proposals: the image's stored record: superpixels int [h, w], num_superpixels int [1], membership_bits
            uint8 [P, ceil(S/8)], size int [2] (other fields are ignored).

    Raises:
        InputError: an id outside 0..P-1, or a record that contradicts itself.
    """
    bits = proposals["membership_bits"]
    if len(proposal_ids) and not 0 <= int(proposal_ids.min()) <= int(proposal_ids.max()) < len(bits):
        raise InputError(
            f"proposal_ids: expected 0..{len(bits) - 1}, got {proposal_ids.min()}..{proposal_ids.max()}"
        )
    membership = unpack_membership(bits[proposal_ids], int(proposals["num_superpixels"][0]))
    height, width = proposals["size"].tolist()
    return proposal_masks(proposals["superpixels"], membership, (height, width))
