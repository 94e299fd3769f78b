"""Masks in their three forms: sets of superpixels (superpixels), run lengths (rle), boxes (boxes)."""
