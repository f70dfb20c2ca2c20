"""Tokenizer folders: they load without this package, keep their ids, and broken ones are named in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from primase.errors import ModelError
from primase.tokenizers import base_tokenizer, kmer_tokenizer, load_tokenizer

READ_WITHOUT_PRIMASE = """
import json, sys
sys.modules["primase"] = None
from transformers import AutoTokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
assert not any(name.startswith("primase.") for name in sys.modules)
ids = tokenizer(texts)["input_ids"]
print(json.dumps([ids, [tokenizer.decode(row) for row in ids]]))
"""


def test_saved_folders_load_without_primase(tmp_path, byte_pair_tokenizer):
    texts = ["ACGTNACGTTGA", "gattacaRu", "", "AXC"]
    for name, tokenizer in {"kmer": kmer_tokenizer(3), "byte-pair": byte_pair_tokenizer}.items():
        folder = tmp_path / name
        tokenizer.save_pretrained(folder)
        answer = subprocess.run(
            [sys.executable, "-c", READ_WITHOUT_PRIMASE, str(folder), json.dumps(texts)],
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        ids, decoded = json.loads(answer.stdout)
        assert ids == tokenizer(texts)["input_ids"]
        assert decoded == ["[BOS]ACGTNACGTTGA", "[BOS]GATTACANT", "[BOS]", "[BOS]A[UNK]C"]


@pytest.mark.parametrize("model_type", ["mixtral", "mistral", "llama", "qwen3", "qwen3_moe", "olmoe", "gpt2"])
def test_auto_tokenizer_keeps_the_tokenizer_beside_a_model(model_type, tmp_path):
    """AutoTokenizer lets the model type in config.json decide for some types (qwen2): not for these."""
    from transformers import AutoTokenizer

    tokenizer = kmer_tokenizer(3)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    loaded = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "acgtNACGTRX"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_load_tokenizer_takes_the_file_as_it_is_without_the_network(tmp_path, monkeypatch):
    def no_network(*address, **options):
        raise AssertionError(f"asked for {address}")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    kmer_tokenizer(3).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    assert load_tokenizer(tmp_path)("ACGTTTN")["input_ids"] == kmer_tokenizer(3)("ACGTTTN")["input_ids"]


def broken_folder(tmp_path: Path, case: str) -> Path:
    base_tokenizer().save_pretrained(tmp_path)
    file, config = tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json"
    if case == "absent":
        return tmp_path / "absent"
    if case == "a file":
        return file
    if case == "slow only":
        file.rename(tmp_path / "vocab.txt")
    elif case == "cut off":
        file.write_text(file.read_text()[:200])
    elif case == "remote code":
        changed = json.loads(config.read_text()) | {"auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
        config.write_text(json.dumps(changed))
    return tmp_path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("absent", "no such tokenizer folder"),
        ("a file", "give the folder that holds tokenizer.json"),
        ("slow only", "no tokenizer.json in this folder"),
        ("cut off", "cannot load a fast tokenizer"),
        ("remote code", "needs code of its own"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(case, message, tmp_path):
    folder = broken_folder(tmp_path, case)
    for given_as in (folder, str(folder)):
        with pytest.raises(ModelError, match=message) as caught:
            load_tokenizer(given_as)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_hub_name_is_one_line(monkeypatch):
    from transformers import PreTrainedTokenizerFast

    def no_network(name, **options):
        assert options == {"local_files_only": False}
        raise OSError(f"{name} is not a local folder\nand the Hub cannot be reached")

    monkeypatch.setattr(PreTrainedTokenizerFast, "from_pretrained", no_network)
    with pytest.raises(ModelError, match=r"^nobody/nothing: cannot load .* give a folder$"):
        load_tokenizer("nobody/nothing")


def test_importing_does_not_import_transformers():
    program = (
        "import sys, primase.sequence_encoder, primase.tokenizers\nprint({'torch', 'transformers'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
