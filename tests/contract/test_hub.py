"""A Hub name works where a folder does: fetched over HTTP from a local server that speaks the Hub's protocol."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from primase.embedding import embed
from primase.hub import TOKENIZER_FILES, local_folder
from primase.tokenizers import load_tokenizer
from tests.models import tiny_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path):
    """Serves the folder tmp_path/hub as the repository lab/tiny-dna."""
    folder = tmp_path / "hub"
    folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = self.path.split("?")[0]
            file = folder / path.rsplit("/", 1)[-1]
            if path.startswith("/api/models/lab/tiny-dna"):
                files = sorted(folder.iterdir())
                names = [{"rfilename": entry.name} for entry in files]
                answer = {"id": "lab/tiny-dna", "sha": COMMIT, "siblings": names}
                if "/tree/" in path:
                    answer = [
                        {"type": "file", "path": entry.name, "oid": COMMIT, "size": entry.stat().st_size}
                        for entry in files
                    ]
                self.send(200, json.dumps(answer).encode(), with_body, {"Content-Type": "application/json"})
            elif path.startswith("/lab/tiny-dna/resolve/") and file.is_file():
                body = file.read_bytes()
                self.send(200, body, with_body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'})
            else:
                self.send(404, b"", with_body, {"X-Error-Code": "EntryNotFound"})

        def send(self, status: int, body: bytes, with_body: bool, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_model_is_fetched_by_its_hub_name_and_embeds(tmp_path, hub):
    folder, endpoint = hub
    loaded = tiny_model("mixtral-1m", k=3)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    (tmp_path / "s.fa").write_text(">a\nACGTTGCATTGACCA\n>b\nGGGATATTTACC\n")
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "primase", "embed", "lab/tiny-dna", "s.fa", "-o", "v.npy"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    expected = embed(loaded, ["ACGTTGCATTGACCA", "GGGATATTTACC"])
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), expected, rtol=1e-4, atol=1e-5)


def test_a_name_that_the_hub_does_not_know_is_one_line(tmp_path, hub):
    _, endpoint = hub
    (tmp_path / "s.fa").write_text(">a\nACGTTGCATTGACCA\n")
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache")}
    environment.pop("HF_HUB_OFFLINE", None)
    settings = ["--set", "tokenizer.kind=pretrained", "--set", "tokenizer.name=lab/absent"]
    command = [sys.executable, "-m", "primase", "prepare", "s.fa", "-o", "corpus", *settings]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1 and "lab/absent" in result.stderr


def test_what_was_fetched_before_is_found_without_a_network(tmp_path, monkeypatch):
    def unknown_host(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--lab--tiny-dna"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    tiny_model(k=3).tokenizer.save_pretrained(snapshot)
    begun = time.perf_counter()
    folder = local_folder("lab/tiny-dna", TOKENIZER_FILES)
    assert folder == snapshot and len(load_tokenizer(folder)) == 9 + 4**3
    assert time.perf_counter() - begun < 3
