"""What the prediction network adds to MMDetection's heads: label sets and self-diversity."""
