"""The same gene in GFF3, GTF and BED12, and what writes them."""


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def gff(*features: str, header: str = "##gff-version 3\n") -> str:
    """Features as 'record type start end strand attributes'."""
    lines = []
    for feature in features:
        record, type_, start, end, strand, *attributes = feature.split(" ", 5)
        lines.append("\t".join([record, "src", type_, start, end, ".", strand, ".", *(attributes or ["."])]))
    return header + "\n".join(lines) + "\n"


EUKARYOTE = (
    "chr1 gene 3 20 + ID=g1",
    "chr1 mRNA 3 20 + ID=t1;Parent=g1",
    "chr1 exon 3 8 + Parent=t1",
    "chr1 CDS 6 8 + ID=c1;Parent=t1",
    "chr1 exon 13 20 + Parent=t1",
    "chr1 CDS 13 15 + ID=c1;Parent=t1",
)

GTF = """#!genome-build X
chr1\tsrc\tgene\t3\t20\t.\t+\t.\tgene_id "g1"; gene_name "A;B";
chr1\tsrc\ttranscript\t3\t20\t.\t+\t.\tgene_id "g1"; transcript_id "t1";
chr1\tsrc\texon\t3\t8\t.\t+\t.\tgene_id "g1"; transcript_id "t1"; exon_number "1";
chr1\tsrc\tCDS\t6\t8\t.\t+\t0\tgene_id "g1"; transcript_id "t1";
chr1\tsrc\tstart_codon\t6\t8\t.\t+\t0\tgene_id "g1"; transcript_id "t1";
chr1\tsrc\texon\t13\t20\t.\t+\t.\tgene_id "g1"; transcript_id "t1";
chr1\tsrc\tstop_codon\t13\t15\t.\t+\t0\tgene_id "g1"; transcript_id "t1";
"""
BED12 = "chr1\t2\t20\tt1\t0\t+\t5\t15\t0,0,0\t2\t6,8,\t0,10,\n"
