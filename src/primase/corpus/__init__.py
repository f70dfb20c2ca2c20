"""From records on disk to windows, split into parts and tokenized: a folder that training and evaluation read."""
