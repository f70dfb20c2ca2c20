"""Pictures of what a model says: a locus base by base, a map of vectors; and the basics that all pictures share."""
