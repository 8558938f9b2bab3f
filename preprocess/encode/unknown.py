"""Which characters a tokenizer lacks: counted in a sample of the documents with unknown tokens."""

from collections import Counter

import numpy as np
import pyarrow as pa
import tokenizers

from preprocess.encode.protocol import EncodedDocuments
from preprocess.encode.tokenizer import load_backend

MOST_DOCUMENTS = 50
"""Documents of a task that are looked at."""
MOST_CHARACTERS = 1000
"""Characters of each that are looked at."""
MOST_NAMED = 20


class UnknownCharacters:
    """Counts them in the first documents of a task that have unknown tokens."""

    def __init__(self, tokenizer_json: str, unk_id: int | None) -> None:
        self._json, self._unk_id = tokenizer_json, unk_id
        self._backend: tokenizers.Tokenizer | None = None
        self._known: dict[str, bool] = {}
        self.begin_task()

    def begin_task(self) -> None:
        """Forget what was counted."""
        self._left = 0 if self._unk_id is None else MOST_DOCUMENTS
        self._counts: Counter[str] = Counter()

    @property
    def commonest(self) -> dict[str, int]:
        """The commonest characters of the task and how often each stood there."""
        return dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_NAMED])

    def add(self, documents: pa.LargeStringArray, encoded: EncodedDocuments) -> None:
        """Look at documents."""
        if not self._left:
            return
        unknown = np.flatnonzero(encoded.ids == self._unk_id)
        places = np.unique(np.searchsorted(encoded.offsets, unknown, side="right") - 1)
        for place in places[: self._left]:
            self._count(documents[int(place)].as_py()[:MOST_CHARACTERS])
        self._left -= len(places[: self._left])

    def _count(self, text: str) -> None:
        tokens = self._encode(text)
        for token, (begin, end) in zip(tokens.ids, tokens.offsets, strict=True):
            if token == self._unk_id:
                self._counts.update(c for c in text[begin:end] if not self._is_known(c))

    def _is_known(self, character: str) -> bool:
        if character not in self._known:
            self._known[character] = self._unk_id not in self._encode(character).ids
        return self._known[character]

    def _encode(self, text: str) -> tokenizers.Encoding:
        if self._backend is None:
            self._backend = load_backend(self._json)
        # (`encode` would hold the interpreter lock throughout.)
        (tokens,) = self._backend.encode_batch([text], add_special_tokens=False)
        return tokens
