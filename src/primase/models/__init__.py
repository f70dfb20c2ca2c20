"""Architectures: which transformers configuration a recipe means, and what it costs."""
