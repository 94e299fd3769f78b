"""Task loss, diversity and the dissimilarity coefficient that trains the conditional network (paper 4, 5, B.2)."""
