"""Annotations painted base by base and gene by gene, slowly, to compare the real reader with."""

import re
from collections import defaultdict

import numpy as np

CODING = {"CDS", "start_codon", "stop_codon"}
EXON = {"exon", "pseudogenic_exon", "five_prime_UTR", "three_prime_UTR", "UTR"}
GENE = {
    *("gene", "pseudogene", "ncRNA_gene", "lincRNA_gene", "transposable_element_gene", "mRNA_TE_gene"),
    *("transcript", "mRNA", "lnc_RNA", "lincRNA", "ncRNA", "tRNA", "rRNA", "snRNA", "snoRNA", "miRNA", "piRNA"),
    *("pre_miRNA", "circular_ncRNA", "processed_transcript", "NMD_transcript_variant", "pseudogenic_transcript"),
    *("nc_primary_transcript", "pseudogenic_tRNA"),
}


def _names(attributes: str, type_: str) -> tuple[str | None, list[str]]:
    """Own name, and names of owners."""
    if "gene_id " in attributes:
        pairs = dict(re.findall(r'(\w+) "?([^";]*)"?', attributes))
        gene, transcript = pairs.get("gene_id"), pairs.get("transcript_id")
        if type_ == "gene" or not transcript:
            return gene, ([gene] if gene and type_ not in GENE else [])
        return transcript, [gene] if type_ in GENE else [transcript]
    pairs = dict(pair.strip().split("=", 1) for pair in attributes.split(";") if "=" in pair)
    return pairs.get("ID"), pairs["Parent"].split(",") if "Parent" in pairs else []


def paint_gff(lines: list[str], lengths: dict[str, int]) -> dict[str, np.ndarray]:
    """Codes of coding, exon, intron, intergenic for each base of each record."""
    features = defaultdict(list)
    for line in lines:
        if line.startswith("##FASTA"):
            break
        columns = line.split("\t")
        if not line.startswith("#") and columns[2] in CODING | EXON | GENE:
            name, owners = _names(columns[8], columns[2])
            place = int(columns[3]) - 1, int(columns[4]), columns[6]
            features[columns[0]].append((columns[2], *place, name, owners))
    return {record: _paint_record(features[record], length) for record, length in lengths.items()}


def _paint_record(features, length: int) -> np.ndarray:
    genes = [feature for feature in features if feature[0] in GENE]
    parents = {name: owners[0] for _, _, _, _, name, owners in genes if name and owners}

    def family(name):
        while name in parents:
            name = parents[name]
        return name

    named_genes = {family(name or owners[0]) for *_, name, owners in genes if name or owners}
    parts_of_family, parts_of_stranger, strays = defaultdict(list), defaultdict(list), []
    for part in features:
        if part[0] in GENE:
            continue
        for owner in part[5]:
            known = family(owner) in named_genes
            (parts_of_family[family(owner)] if known else parts_of_stranger[owner]).append(part)
        if not part[5]:
            strays.append([part])
    strays += parts_of_stranger.values()
    masks = {kind: np.zeros(length, bool) for kind in ("coding", "exon", "gene")}
    for type_, start, end, *_ in features:
        masks["coding" if type_ in CODING else "exon" if type_ in EXON else "gene"][max(start, 0) : max(end, 0)] = True
    for group in parts_of_stranger.values():
        masks["gene"][min(part[1] for part in group) : max(part[2] for part in group)] = True
    for _, start, end, strand, name, owners in genes:
        known = parts_of_family.get(family(name or owners[0]), []) if name or owners else []
        parts = known or [
            part
            for group in strays
            if group[0][3] == strand and all(start <= part[1] and part[2] <= end for part in group)
            for part in group
        ]
        if not any(part[0] in EXON for part in parts):
            inside = np.ones(end - start, bool)
            if parts:
                hull_start, hull_end = min(part[1] for part in parts), max(part[2] for part in parts)
                inside[max(hull_start - start, 0) : max(hull_end - start, 0)] = False
            masks["exon"][max(start, 0) : max(end, 0)] |= inside[max(-start, 0) :][: max(length - max(start, 0), 0)]
    return np.select([masks["coding"], masks["exon"], masks["gene"]], [0, 1, 2], 3).astype(np.uint8)
