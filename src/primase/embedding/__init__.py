"""Embedding (`primase embed`): sequences to vectors, one each; `vectors` computes them, `files` writes them."""

from primase.embedding.files import embed_to_file
from primase.embedding.results import EmbedResult
from primase.embedding.vectors import embed, embed_stream, load

__all__ = ["EmbedResult", "embed", "embed_stream", "embed_to_file", "load"]
