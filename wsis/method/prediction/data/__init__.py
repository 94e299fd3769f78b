"""Training images of the prediction network."""
