"""Search (`primase search`): stretches of a genome that are near a sequence in a model's vector space."""

from primase.search.index import index
from primase.search.query import query

__all__ = ["index", "query"]
