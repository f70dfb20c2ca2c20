"""The training: transformers.Trainer behind one seam, with its traps closed."""
