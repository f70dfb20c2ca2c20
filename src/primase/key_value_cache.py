"""Keys and values of earlier tokens for models that are asked one token at a time: the codec and `generation`."""

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class _RoomyLayer(DynamicLayer):
    """Keys and values in room that is taken once: torch.cat at each step would copy the whole cache."""

    def __init__(self, room: "Room", layer: int) -> None:
        super().__init__()
        self._room, self._layer, self._length = room, layer, 0

    def get_seq_length(self) -> int:
        return self._length

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object):
        self.is_initialized = True
        begin, self._length = self._length, self._length + key_states.shape[-2]
        self.keys = self._put(0, key_states, begin)
        self.values = self._put(1, value_states, begin)
        return self.keys, self.values

    def _put(self, which: int, states: torch.Tensor, begin: int) -> torch.Tensor:
        held = self._room.tensor(self._layer, which, states)[: len(states), :, : self._length]
        held[:, :, begin:] = states
        return held


class Room:
    """The tensors of all layers, kept from one cache to the next."""

    def __init__(self, rows: int, tokens: int) -> None:
        self._rows, self._tokens = rows, tokens
        self._tensors: dict[tuple[int, int], torch.Tensor] = {}

    def tensor(self, layer: int, which: int, like: torch.Tensor) -> torch.Tensor:
        if (layer, which) not in self._tensors:
            _, heads, _, width = like.shape
            self._tensors[layer, which] = like.new_empty(self._rows, heads, self._tokens, width)
        return self._tensors[layer, which]

    def cache(self, config) -> DynamicCache:
        """An empty cache. A sliding window is left to the attention mask; other kinds of layers stay as they are."""
        cache = DynamicCache(config=config)
        for index, layer in enumerate(cache.layers):
            if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
                cache.layers[index] = _RoomyLayer(self, index)
        return cache
