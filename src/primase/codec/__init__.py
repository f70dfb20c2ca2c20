"""The proof of the printed bits per base: an arithmetic coder that a causal language model drives, lossless on FASTA.

A figure that a bug could embellish is no measurement. A file cannot be embellished: it either decodes to the very bytes
that went in, or it does not, and its size is what it is. Where the model's parallel pass saw future bases, the printed
bits per base would be less than the file takes, for the decoder has no future bases to look at.

fasta_layout (in formats)   text -> letters and side stream
schedule                    letters -> lanes, and which token is predicted from which context
passes                      the incremental forward passes, one for encoder and decoder alike
fingerprint                 what must be the same on both sides
container                   the .prm file
"""
