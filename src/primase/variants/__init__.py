"""What a model makes of changes of a genome: variants of a VCF, and every base of a region to each other one.

changes         alleles and random changes like them -> stretches of the genome that give way to others
layout          which window a change is read in
edits           changes of a window -> log-likelihood ratios, the plain way
shared_sums     which tokens of a changed window are its own
shared_passes   the same ratios, with one reading of a window for all its changes
strands         changes -> windows of both strands, and the ratios back in order
alleles         records of a VCF -> changes, or why there is none
survey          does the VCF belong to the genome?
annotate        a VCF in chunks, scored and written
saturation      every base of a region to each other one
picture         heat map and logo of a region
score           the command
"""
