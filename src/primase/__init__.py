"""Primase: DNA language models from scratch."""

from primase.version import __version__

__all__ = ["__version__"]
