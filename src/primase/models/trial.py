"""Is a model fit for use? Looked at once where one is loaded, before anything is begun with it."""

import numpy as np
import torch
from transformers import PreTrainedModel

from primase.errors import ModelError
from primase.own_files import one_line
from primase.sequence_encoder import SequenceEncoder

BASES = 8 * b"ACGTTGCA"


@torch.inference_mode()
def refuse_unfit(place: str, model: PreTrainedModel, encoder: SequenceEncoder, context_tokens: int) -> None:
    """Raises ModelError where a weight is not finite, an id of the tokenizer has no embedding, the context has no room,
    or the model cannot read a few bases.
    """
    fewest = len(encoder.prefix_ids) + len(encoder.suffix_ids) + 2
    if not fewest <= context_tokens:
        raise ModelError(
            f"{place}: a context of {context_tokens} tokens has no room for a sequence; correct "
            "max_position_embeddings in config.json or model_max_length in tokenizer_config.json"
        )
    for name, values in model.named_parameters():
        if not torch.isfinite(values).all():
            raise ModelError(f"{place}: weights that are not finite ({name}); download or train the model again")
    spelling = np.flatnonzero(encoder.letters_per_token)
    largest = max([*spelling.tolist(), *encoder.prefix_ids, *encoder.suffix_ids])
    embeddings = model.get_input_embeddings().num_embeddings
    if largest >= embeddings:
        raise ModelError(
            f"{place}: the tokenizer's id {largest} has no embedding, of which there are {embeddings}; "
            "give the tokenizer that the model was trained with"
        )
    tokens = encoder.encode(BASES)
    if not len(tokens):
        raise ModelError(f"{place}: the tokenizer makes no token of bases; give the one of the training")
    ids = np.concatenate([encoder.prefix_ids, tokens, encoder.suffix_ids]).astype(np.int64)
    try:
        output = model(input_ids=torch.from_numpy(ids[None, :context_tokens]).to(model.device), use_cache=False)
    except Exception as error:  # each model fails in its own way where its configuration and weights disagree
        raise ModelError(
            f"{place}: the model cannot read a sequence ({one_line(error)}); its config.json may be damaged"
        ) from error
    if "last_hidden_state" in output and output[0].shape[-1] != model.config.hidden_size:
        raise ModelError(f"{place}: hidden states of {output[0].shape[-1]} numbers, not {model.config.hidden_size}")
    if not torch.isfinite(output[0]).all():
        raise ModelError(f"{place}: what the model computes is not finite; its weights may be damaged")
