"""Annotations: answers known by heart, and a slow painter on random and on real files."""

import gzip
import random
import time

import numpy as np
import pytest

from primase.formats import read_records
from primase.formats.annotations import read_annotations
from primase.formats.bed_regions import read_bed_regions
from primase.formats.gff import kind_of
from tests.unit.annotation_files import BED12, EUKARYOTE, GTF, gff, write
from tests.unit.naive_annotations import CODING, EXON, GENE, paint_gff

LETTERS = {"coding": "C", "exon": "E", "intron": "I", "intergenic": "."}


def picture(file, record: str, length: int, start: int = 0) -> str:
    """One letter a base: C, E, I and . for the four classes, else the first letter of the class."""
    found = read_annotations(file)
    labels = found.labels(record, start, length)
    assert labels.dtype == np.uint8 and labels.shape == (length,)
    return "".join(LETTERS.get(found.classes[code], found.classes[code][0]) for code in labels)


EUKARYOTE_PICTURE = "..EEECCCIIIICCCEEEEE.."


def test_classes_of_a_gene_known_by_heart(tmp_path):
    file = write(tmp_path / "x.gff3", gff(*EUKARYOTE))
    assert read_annotations(file).classes == ("coding", "exon", "intron", "intergenic")
    assert read_annotations(str(file)).records == ("chr1",)
    assert picture(file, "chr1", 22) == EUKARYOTE_PICTURE
    for start in range(24):
        for length in range(24):
            assert picture(file, "chr1", length, start) == (EUKARYOTE_PICTURE + "." * 30)[start : start + length]


@pytest.mark.parametrize(
    "content",
    [
        GTF,
        "\n".join(line for line in GTF.split("\n") if "\tgene\t" not in line and "\ttranscript\t" not in line),
        GTF.replace('"', "").replace("A;B", "A"),
        BED12,
        "browser position chr1:1-20\ntrack name=x\n#comment\n" + BED12,
        BED12.replace("\t", " "),
        gff(*EUKARYOTE, header=""),
        gff(*reversed(EUKARYOTE)),
        gff(*EUKARYOTE).replace("\n", "\r\n"),
        gff(*EUKARYOTE).replace("\n", "\n\n \n###\n") + "##FASTA\n>chr1\nACGT\n",
        gff(*EUKARYOTE) + ">chr1\nACGT\n",
        "\ufeff" + gff(*EUKARYOTE),
        # Bases of genes that begin before the record or end behind it.
        gff(*EUKARYOTE, "chr1 region 1 22 + ID=chr1", "chr1 gene 30 99 - ID=far", "chr1 exon -9 -2 + ID=before"),
        # Without names, exons belong to the gene that they lie in.
        gff(*(feature.split("ID=")[0].split("Parent=")[0].strip() for feature in EUKARYOTE)),
        # Without genes, exons of the same parent are a gene of their own.
        gff(*EUKARYOTE[2:]),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_the_same_gene_in_other_words(tmp_path, content, compressed):
    data = gzip.compress(content.encode()) if compressed else content.encode()
    for name in ("annotations", "x.txt", "wrong.bed" if content != BED12 else "wrong.gff3.gz"):
        assert picture(write(tmp_path / name, data), "chr1", 22) == EUKARYOTE_PICTURE


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        # A bacterium: gene and CDS, a gene of RNA, a pseudogene that the next gene overlaps.
        (
            (
                "c gene 1 6 + ID=a",
                "c CDS 1 6 + ID=x;Parent=a",
                "c gene 8 10 - ID=b",
                "c tRNA 8 10 - ID=y;Parent=b",
                "c pseudogene 12 17 + ID=p",
                "c gene 16 20 + ID=d",
                "c CDS 16 20 + ID=z;Parent=d",
            ),
            "CCCCCC.EEE.EEEECCCCC",
        ),
        # CDS and no exon: before the first and behind the last CDS lie UTRs, between them an intron.
        (("c gene 2 18 + ID=a", "c CDS 5 8 + Parent=a", "c CDS 12 14 + Parent=a"), ".EEECCCCIIICCCEEEE.."),
        (("c gene 2 18 +", "c CDS 5 8 +", "c CDS 12 14 +"), ".EEECCCCIIICCCEEEE.."),
        # The strand matters where nothing is named.
        (("c gene 2 18 +", "c CDS 5 8 -"), ".EEECCCCEEEEEEEEEE.."),
        # A transcript without exons, beside one that has some, adds no exon.
        (
            (
                "c gene 1 20 + ID=a",
                "c mRNA 1 20 + ID=t;Parent=a",
                "c mRNA 1 20 + ID=u;Parent=a",
                "c exon 3 5 + Parent=t",
            ),
            "IIEEEIIIIIIIIIIIIIII",
        ),
        # Coding on one transcript is coding; exon of one gene in the intron of another is exon.
        (
            (
                "c gene 1 20 + ID=a",
                "c exon 1 4 + Parent=a",
                "c exon 16 20 + Parent=a",
                "c exon 3 8 + Parent=t,a",
                "c CDS 3 4 + Parent=t",
                "c mRNA 1 20 + ID=t;Parent=a",
                "c snoRNA 11 12 - ID=s",
            ),
            "EECCEEEEIIEEIIIEEEEE",
        ),
        # UTRs are exons. Parents in a circle, a gene that is its own parent: no endless loop.
        (("c mRNA 1 9 + ID=t;Parent=u", "c mRNA 1 9 + ID=u;Parent=t", "c five_prime_UTR 2 3 + Parent=t"), "IEEI"),
        (("c gene 1 9 + ID=t;Parent=t", "c exon 2 3 + Parent=t"), "IEEI"),
        # Alike endings of keys, blanks after semicolons.
        (("c gene 1 9 + geneID=z; ID=t;xParent=q", "c exon 2 3 + xParent=z;Parent=t; Note=Parent=z"), "IEEI"),
    ],
)
def test_what_a_family_leaves_open(tmp_path, features, expected):
    length = len(expected)
    file = write(tmp_path / "x.gff", gff(*features))
    assert picture(file, "c", length) == expected
    assert picture(write(file, gff(*reversed(features))), "c", length) == expected


def test_types_of_genes_and_transcripts_are_told_by_their_endings():
    assert {type_ for type_ in CODING | EXON | GENE if kind_of(type_.encode()) is None} == set()
    for type_ in ("V_gene_segment", "SRP_RNA", "unconfirmed_transcript", "Gene", "3UTR", "five_prime_utr", "cds"):
        assert kind_of(type_.encode()) is not None
    for type_ in ("region", "chromosome", "source", "intron", "transcript_region", "match", "protein", "gene_group"):
        assert kind_of(type_.encode()) is None


def random_gff(rng: random.Random, gtf: bool) -> list[str]:
    """Lines of up to 8 families in a record of 300 bases, in any order, with some links and lines missing."""
    lines = []

    def place(start, end):
        first, last = sorted(rng.choices(range(start, end + 1), k=2))
        return first, last

    def line(type_, start, end, strand, name, parents):
        if gtf:
            names = {"gene_id": (parents or [name])[0] if type_ in GENE else name, "transcript_id": name}
            if type_ not in GENE:
                names = {"gene_id": "g" + parents[0] if parents else "", "transcript_id": (parents or [""])[0]}
            if type_ == "gene":
                names = {"gene_id": name}
            attributes = " ".join(f'{key} "{value}";' for key, value in names.items() if value)
        else:
            pairs = {"ID": name, "Parent": ",".join(parents)}
            attributes = ";".join(f"{key}={value}" for key, value in pairs.items() if value) or "."
        lines.append("\t".join(["c", "s", type_, str(start), str(end), ".", strand, ".", attributes]))

    for family in range(rng.randint(1, 8)):
        strand, gene = rng.choice("+-"), f"g{family}"
        start, end = place(1, 280)
        if rng.random() < 0.8:
            line(rng.choice(["gene", "ncRNA_gene"] if not gtf else ["gene"]), start, end, strand, gene, [])
        for number in range(rng.randint(0, 2)):
            transcript = f"{gene}.t{number}"
            if rng.random() < 0.8:
                line(rng.choice(["mRNA", "transcript"]), *place(start, end), strand, transcript, [gene])
            for _ in range(rng.randint(0, 3)):
                owner = rng.choice([[transcript], [transcript], [gene], []] + ([[transcript, gene]] if not gtf else []))
                line(rng.choice(["exon", "CDS", "CDS", "UTR"]), *place(start, end), strand, "", owner)
    rng.shuffle(lines)
    return lines


@pytest.mark.parametrize("gtf", [False, True])
def test_random_annotations_agree_with_the_slow_painter(tmp_path, gtf):
    rng, seen = random.Random(1), set()
    for _ in range(250):
        lines = [*random_gff(rng, gtf), "c\ts\tgene\t290\t300\t.\t+\t.\t" + ('gene_id "z"' if gtf else "ID=z")]
        # The first line tells the format apart.
        lines.reverse()
        expected = paint_gff(lines, {"c": 320})["c"]
        found = read_annotations(write(tmp_path / "x", "\n".join(lines)))
        start, length = rng.randrange(320), rng.randrange(40)
        assert np.array_equal(found.labels("c", 0, 320), expected), "\n".join(lines)
        assert np.array_equal(found.labels("c", start, length)[: 320 - start], expected[start : start + length])
        seen |= set(expected.tolist())
    assert seen == {0, 1, 2, 3}


def test_random_bed_agrees_with_the_slow_painter(tmp_path):
    rng = random.Random(2)
    for trial in range(150):
        names = "abcdefghijkl"[: rng.randint(1, 10)]
        rows = [(*sorted(rng.choices(range(200), k=2)), rng.choice(names)) for _ in range(rng.randint(1, 30))]
        used = list(dict.fromkeys(name for _, _, name in rows))
        few = len(used) <= 8
        expected = np.full(220, len(used) if few else 1)
        for name in reversed(used):
            for start, end, _ in (row for row in rows if row[2] == name):
                expected[start:end] = used.index(name) if few else 0
        found = read_annotations(write(tmp_path / "x", "\n".join(f"c\t{s}\t{e}\t{name}" for s, e, name in rows)))
        assert found.classes == ((*used, "elsewhere") if few else ("annotated", "elsewhere"))
        assert np.array_equal(found.labels("c", 0, 220), expected), trial


@pytest.mark.parametrize(
    ("content", "classes", "expected"),
    [
        ("c\t2\t4\nc\t3\t6\n", ("annotated", "elsewhere"), "eeaaaaee"),
        ("c 2 4\n", ("annotated", "elsewhere"), "eeaaeeee"),
        ("c\t2\t4\t.\t0\t+\n", ("annotated", "elsewhere"), "eeaaeeee"),
        ("c\t3\t6\tpromoter\nc\t1\t5\tXist\n", ("promoter", "Xist", "elsewhere"), "eXXpppee"),
        (
            "c\t1\t3\tXist\t0\t+\t1\t3\t0,0,0\nd\t0\t1\tpromoter\t0\t.\t0\t1\t0\n",
            ("Xist", "promoter", "elsewhere"),
            "eXX",
        ),
        ("c\t1\t3\telsewhere\nc\t2\t5\tXist\n", ("Xist", "elsewhere"), "eeXXXe"),
        ("c\t1\t1\tXist\n", ("Xist", "elsewhere"), "eee"),
        ("c\t0\t9\tx\t1\t+\t.\t.\n", ("x", "elsewhere"), "xxxx"),
        # A block of noncoding RNA: no thick part.
        ("c\t1\t7\tt\t0\t+\t1\t1\t0\t2\t2,1\t0,5\n", ("coding", "exon", "intron", "intergenic"), ".EEIIIE."),
        # Twelve columns that are no blocks.
        ("c\t1\t3\tXist" + "\tq" * 8 + "\n", ("Xist", "elsewhere"), "eXXe"),
    ],
)
def test_bed_known_by_heart(tmp_path, content, classes, expected):
    file = write(tmp_path / "x.bed", content)
    assert read_annotations(file).classes == classes
    assert picture(file, "c", len(expected)) == expected


@pytest.mark.parametrize(
    ("in_file", "asked", "there"),
    [
        ("1", "chr1", True),
        ("chr1", "1", True),
        ("Chr1", "1", True),
        ("CHR1", "chr1", True),
        ("chrM", "MT", True),
        ("MT", "chrM", True),
        ("M", "MT", True),
        ("chrX", "X", True),
        ("chr", "chr", True),
        ("a%20b%7C", "a b|", True),
        ("chr1", "chr10", False),
        ("chr1", "chrchr1", False),
        ("chrx", "X", False),
    ],
)
def test_names_of_chromosomes(tmp_path, in_file, asked, there):
    found = read_annotations(write(tmp_path / "x.gff", gff(f"{in_file} exon 1 4 +")))
    assert found.has(asked) == there
    assert found.labels(asked, 3, 2).tolist() == ([1, 3] if there else [3, 3])


def test_records_may_be_called_as_lines_for_a_browser_begin(tmp_path):
    file = tmp_path / "x.bed"
    file.write_text('track name="x"\nbrowser position chr1\n#c\ntrack1\t0\t5\nbrowserless\t2\t9\n')
    assert [region.record for region in read_bed_regions(file)] == ["track1", "browserless"]


def test_the_exact_name_wins(tmp_path):
    found = read_annotations(write(tmp_path / "x.gff", gff("1 exon 1 4 +", "chr1 CDS 1 4 +", "M exon 9 9 .")))
    assert found.records == ("1", "chr1", "M")
    assert [found.labels(name, 0, 1).tolist() for name in ("1", "chr1", "Chr1")] == [[1], [0], [1]]


def test_places_below_0_are_a_mistake_of_the_caller(tmp_path):
    found = read_annotations(write(tmp_path / "x.gff", gff("1 exon 1 4 +")))
    for start, length in ((-1, 3), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            found.labels("1", start, length)


REAL = {
    "ecoli_k12/GCF_000005845.2_ASM584v2_genomic.gff.gz": ("GCF_000005845.2_ASM584v2_genomic.fna.gz", "coding", 0.86),
    "human/bcftools_csq_gene_regions.gff.gz": ("bcftools_csq_gene_regions.fa.gz", "intron", 0.90),
    "arabidopsis/A.thaliana.gff.gz": ("A.thaliana.fa.gz", "coding", 0.35),
    "worm/C.elegans.gff.gz": ("C.elegans.fa.gz", "intron", 0.39),
    "small/SARS-CoV-2_MN908947.3.gff.gz": ("SARS-CoV-2_MN908947.3.fasta.gz", "coding", 0.44),
    "small/phiX174/NC_001422.1_pseudocircular.gff.gz": ("NC_001422_1.fna.gz", "coding", 0.96),
}


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_annotations_agree_with_the_slow_painter(shared_data, name):
    file = shared_data / "genomes" / name
    fasta, main_class, share = REAL[name]
    lengths = {record.name: len(record.sequence) for record in read_records(file.parent / fasta)}
    expected = paint_gff(gzip.decompress(file.read_bytes()).decode().splitlines(), lengths)
    found = read_annotations(file)
    counts = np.zeros(4, np.int64)
    for record, length in lengths.items():
        assert found.has(record)
        labels = found.labels(record, 0, length)
        assert np.array_equal(labels, expected[record]), record
        counts += np.bincount(labels, minlength=4)
    assert counts[found.classes.index(main_class)] / counts.sum() == pytest.approx(share, abs=0.01)


def test_ten_kilobases_are_labelled_fast_in_a_chromosome_of_a_hundred_thousand_exons(tmp_path):
    rows = [f"chr1\t{start}\t{start + 150}\t{'ab'[start % 4 == 0]}" for start in range(0, 200_000_000, 2_001)]
    found = read_annotations(write(tmp_path / "x.bed", "\n".join(rows)))
    started = time.process_time()
    for start in range(0, 200_000_000, 200_000):
        found.labels("chr1", start, 10_000)
    assert time.process_time() - started < 1.0, "a thousand stretches, a millisecond each"
