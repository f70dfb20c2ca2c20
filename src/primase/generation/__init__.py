"""Generation (`primase generate`): sequences drawn from a model under constraints, and what they are worth."""
