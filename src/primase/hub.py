"""A name on the Hub becomes a folder on this disk before transformers sees it.

Left to itself, transformers asks for nine files, each of them six times: without a network a mistyped folder took three
and a half minutes. One request decides here, and what was fetched before is found without a network.
"""

import json
from pathlib import Path

from primase.errors import ModelError

TOKENIZER_FILES = ("*.json",)
CONFIGURATION_FILES = ("config.json",)
MODEL_FILES = ("*.json", "model*.safetensors")


def refuse_paths_outside(folder: Path) -> None:
    """Raises ModelError where the index of the weights names a file that is not in the folder, and for an adapter,
    which names another model to load.
    """
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder}: an adapter and not a whole model; merge it into its base and save that")
    for index in sorted(folder.glob("*.index.json")):
        try:
            shards = json.loads(index.read_text("utf-8"))["weight_map"].values()
            outside = [name for name in shards if Path(name).name != name]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ModelError(f"{index}: not readable as an index of weights; download the model again") from None
        if outside:
            raise ModelError(f"{index}: names a file outside of its folder ({outside[0]}); do not trust this model")


def local_folder(name_or_path: str | Path, files: tuple[str, ...]) -> Path:
    """The path itself where something is there, else the folder into which those files of the Hub's repository go.

    Raises ModelError where there is neither.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    if str(name_or_path).startswith((".", "/", "~")) or str(name_or_path).count("/") > 1:
        raise ModelError(f"{name_or_path}: no such folder; check the path")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name_or_path), allow_patterns=list(files)))
    except Exception as error:  # the Hub's library raises a dozen types, for names that cannot exist too
        reason = (str(error).split(". ")[0].strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{name_or_path}: no such folder, and no such name on the Hub could be reached ({reason}); "
            "check the path or the name, and the network"
        ) from error
