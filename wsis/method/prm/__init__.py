"""Peak response maps: from image-level labels to instance seeds (Zhou et al., CVPR 2018; paper 6.2)."""
