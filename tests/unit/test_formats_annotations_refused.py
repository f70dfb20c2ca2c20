"""Annotations that cannot be used: one line that names the file, the line and the remedy."""

import builtins
import gzip
import os
import random

import pytest

from primase.errors import InputError, MissingFileError
from primase.formats import annotations
from primase.formats.annotations import read_annotations
from tests.unit.annotation_files import BED12, EUKARYOTE, GTF, gff, write


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("genomes/yeast/SGD_features.tab.gz", "line 1: neither GFF3, GTF nor BED"),
        ("genomes/worm/C.elegans.fa.gz", "line 1: sequences (FASTA)"),
        ("variants/C.elegans.vcf.gz", "variants (VCF)"),
        ("variants/chr20_1mb/z.vcf.gz", "variants (VCF)"),
        ("tasks/gue/tf/0/dev.csv.gz", "line 1: neither GFF3, GTF nor BED"),
        ("models/mistral-dna-v1-1m-tf0/model.safetensors", "line 1: "),
        ("genomes", "a folder"),
    ],
)
def test_real_files_of_another_kind_are_refused(shared_data, name, said):
    assert said in refusal(shared_data / name)


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        read_annotations(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


FEATURE = gff("c exon 1 9 +", header="")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("##gff-version 3\n# nothing\n", "has only comments"),
        ("##gff-version 3\n##FASTA\n>a\nACGT\n", "line 3: no features before the sequences"),
        (">a\nACGT\n", "line 1: sequences (FASTA) and no annotations; give GFF3, GTF or BED"),
        ("##fileformat=VCFv4.2\n#CHROM\tPOS\n", "variants (VCF)"),
        ("##fileformat=VCFv4.2\n#CHROM\nc\t1\t.\tA\tC\t.\t.\t.\n", "line 3: variants (VCF)"),
        ("c\t1\trs1\tA\tC,G\t.\t.\t.\n", "line 1: variants (VCF)"),
        ("hello\n", "line 1: neither GFF3, GTF nor BED; give GFF3, GTF or BED, plain or gzip"),
        ("BAM\x01\x02\x00\n", "line 1: not text"),
        (FEATURE + "c\tsrc\texon\t10\t12\n", "line 2: 5 columns where GFF3 and GTF have 9; complete the line"),
        (FEATURE + "\nc src exon 10 12 . + . ID=x\n", "line 3: columns are separated by blanks"),
        (FEATURE + "\x00\x00\n", "line 2: a byte 0x00"),
        (FEATURE.replace("\n", "\r") * 2, "line 1: lines end in a lone carriage return"),
        (FEATURE + gff("c exon 0 9 +", header=""), "line 2: the start is 0, and GFF3 and GTF count bases from 1"),
        (gff("c exon 9 5 -"), "line 2: the start 9 is behind the end 5; swap them"),
        (gff("c exon x 5 -"), "line 2: the start 'x' is no base number"),
        (gff("c region 1 1e5 -"), "line 2: the end '1e5' is no base number"),
        (gff("c exon 1 9999999999999 -"), "line 2: the end '9999999999999' is no base number"),
        (gff("c exon 1_0 55 -"), "line 2: the start '1_0' is no base number"),
        (gff("c region 1 9 +", "c match 1 2 +", "c match 3 4 +"), "none of its 3 features is a gene, transcript, exon"),
        ("c\t1\t5\nc\t7\t6\n", "line 2: the start 7 is behind the end 6; swap them"),
        ("c\t-1\t5\n", "line 1: the start '-1' is negative; BED counts bases from 0"),
        ("chrom\tstart\tend\nc\t1\t5\n", "line 1: neither GFF3, GTF nor BED"),
        ("c\t1\t5\nc\t1\tend\n", "line 2: the end 'end' is no base number"),
        ("track x\nc\t1\t5\ta\nc\t1\t5\n", "line 3: 3 columns where the first line has 4"),
        (BED12 + BED12.replace("6,8,", "6,8,1,"), "line 2: 3 block sizes and 2 block starts where blockCount says 2"),
        (BED12 + BED12.replace("6,8,", "6,9,"), "line 2: a block reaches beyond the end 20"),
        (BED12 + BED12.replace("6,8,", "6,x,"), "line 2: the block size 'x' is no base number"),
        (BED12 + BED12.replace("\t5\t", "\tz\t"), "line 2: the thickStart 'z' is no base number"),
        (b"PK\x03\x04zip", "a zip archive"),
    ],
)
def test_refusals_name_file_line_and_remedy(tmp_path, content, said):
    assert said in refusal(write(tmp_path / "x", content))
    compressed = gzip.compress(content.encode() if isinstance(content, str) else content)
    if isinstance(content, str):
        assert said in refusal(write(tmp_path / "x.gz", compressed))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.bed", "chrom\tstart\tend\nc\t1\t5\n", "line 1: the start 'start' is no base number; write a whole number"),
        ("x.bed", "c\n", "line 1: 1 column where BED has at least 3"),
        ("x.bed.gz", "c\tone\ttwo\n", "line 1: the start 'one'"),
        ("x.gff3", "c src exon 10 12 . + . ID=x\n", "line 1: columns are separated by blanks"),
        ("x.GTF.gz", "c\tsrc\texon\t10\n", "line 1: 4 columns where"),
    ],
)
def test_a_first_line_that_is_broken_is_read_as_the_suffix_says(tmp_path, name, content, said):
    data = content.encode()
    assert said in refusal(write(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data))


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match="no such file; check the path"):
        read_annotations(tmp_path / "absent.gff")
    assert "a folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe" in refusal(tmp_path / "pipe")
    whole = gzip.compress(random.Random(0).randbytes(2000).hex().encode() + b"\n" + gff(*EUKARYOTE).encode() * 100)
    for cut in (5, len(whole) // 2, len(whole) - 3):
        assert "truncated" in refusal(write(tmp_path / "x.gff.gz", whole[:cut]))
    monkeypatch.setattr(annotations, "MAX_LINE_BYTES", 50)
    assert "line 2: more than 50 bytes" in refusal(write(tmp_path / "x", "# short\n" + "c" * 100))
    file, really_open = write(tmp_path / "x", FEATURE), builtins.open

    def refuse(path, *arguments, **options):
        if path == file:
            raise PermissionError(13, "denied")
        return really_open(path, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refuse)
    assert "no permission" in refusal(file)


def test_random_bytes_in_the_place_of_others_are_read_or_refused_with_one_line(tmp_path):
    rng = random.Random(3)
    for content in (gff(*EUKARYOTE), GTF, BED12):
        for _ in range(150):
            data = bytearray(content.encode())
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] = rng.choice(b"\t\n\r >#-=;,.09az\x00\xff")
            path = write(tmp_path / "x", bytes(data))
            try:
                read_annotations(path).labels("chr1", 0, 30)
            except InputError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
