"""What training, index and service must agree on: pixels, model, encoder, metrics, errors."""
