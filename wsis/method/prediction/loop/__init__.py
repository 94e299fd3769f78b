"""Training of the prediction network."""
