"""Contours to look at or to store: the contour map of an image, the ultrametric contours of its proposals.

Suffix legend: H W original image, h w working size, S superpixels, E edges of the region graph.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.proposals.config import MCGConfig
from wsis.method.proposals.contours.detectors import ContourDetector, build_detector, contour_scales
from wsis.method.proposals.generator.generation import working_image
from wsis.method.proposals.generator.hierarchies import average_linkage


def contour_map(
    image: NDArray[np.uint8], config: MCGConfig | None = None, detector: ContourDetector | None = None
) -> NDArray[np.float32]:
    """Contour strength of a photograph, float32 [H, W] in [0, 1]: the mean over the scales, as the watershed of
    the generator sees it, computed at the working size and enlarged bilinearly.

    Args:
        image: uint8 RGB [H, W, 3], any size from 1x1.
        detector: by default the one the config names.
    Raises:
        InputError: the image is of another type or shape.
    """
    config = config or MCGConfig()
    detector = detector or build_detector(config)
    small = working_image(image, config.max_side)
    mean = contour_scales(small, detector).mean(axis=0)
    if mean.shape != image.shape[:2]:
        mean = cv2.resize(mean, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.clip(mean, 0, 1).astype(np.float32)


def ultrametric_strengths(proposals: ProposalSet) -> NDArray[np.float32]:
    """Ultrametric contour of each edge, float32 [E]: the mean strength at which average linkage joins the regions
    on its two sides. Edges are those of the set, their strengths the mean over the scales.
    """
    if not len(proposals.edges):
        return np.zeros(0, np.float32)
    strengths = proposals.edge_contours / np.maximum(proposals.edge_lengths, 1)
    linked = average_linkage(
        proposals.membership.shape[1], proposals.edges, strengths, np.maximum(proposals.edge_lengths, 1)
    )
    return linked.saliency.astype(np.float32)
