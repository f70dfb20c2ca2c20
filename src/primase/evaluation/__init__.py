"""What a model is worth: bits per base on held-out windows, beside rivals on the same bases."""
