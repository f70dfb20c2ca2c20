"""What must be the same where a file is decoded: the model, the tokenizer, the programs and the machine.

The decoder computes each probability anew and needs every bit of it. Another version of torch, another processor or
instruction set, a GPU in place of a CPU, or another number of threads adds up the same numbers in another order.
"""

import hashlib
import json
from importlib.metadata import version

import torch
import transformers

from primase import hardware
from primase.scoring import LoadedModel

_NOT_ARITHMETIC = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


def model_sha256(loaded: LoadedModel) -> str:
    """Of the configuration and all weights, whatever file they came from."""
    config = {key: value for key, value in loaded.model.config.to_dict().items() if key not in _NOT_ARITHMETIC}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(loaded.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def tokenizer_sha256(loaded: LoadedModel) -> str:
    """Of everything in the tokenizer but padding and truncation, which the codec does not use."""
    parts = json.loads(loaded.tokenizer.backend_tokenizer.to_str())
    parts = {key: value for key, value in parts.items() if key not in ("padding", "truncation")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def machine_facts(loaded: LoadedModel) -> dict[str, str]:
    """Programs and hardware that the arithmetic depends on, apart from the number of threads."""
    device = loaded.model.device
    hardware_facts = hardware.describe()
    is_cuda = device.type == "cuda"
    config = loaded.model.config
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "constriction": version("constriction"),
        "device": device.type,
        "processor": str(hardware_facts["gpu"] if is_cuda else hardware_facts["processor"]),
        "instruction set": _cuda_capability(device) if is_cuda else torch.backends.cpu.get_cpu_capability(),
        "attention": str(getattr(config, "_attn_implementation", None)),
        "experts": str(getattr(config, "_experts_implementation", None)),
        "matrix products": torch.get_float32_matmul_precision(),
    }


def _cuda_capability(device: torch.device) -> str:
    return "sm_{}{}".format(*torch.cuda.get_device_capability(device))
