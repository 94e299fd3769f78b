"""The conditional distribution Pr_c(y | x, a): network, energy and inference (paper 3.2, Algorithm 1)."""
