"""Which encoder a build uses: the compiled one wherever it can be used, else the library's."""

from collections.abc import Callable

from preprocess.encode.aligned import AlignedEncoder, DocumentTokenizer
from preprocess.encode.compiled import (
    byte_level_rules,
    character_bpe_rules,
    encoder,
    unigram_rules,
)
from preprocess.encode.compiled.byte_level_tables import ByteLevelTokenizer
from preprocess.encode.compiled.character_bpe_tables import CharacterBpeTokenizer
from preprocess.encode.compiled.encoder import CompiledEncoder
from preprocess.encode.compiled.unigram_tables import UnigramTokenizer
from preprocess.encode.library import LibraryTokenizer
from preprocess.encode.protocol import Encoder, EncoderSpec
from preprocess.encode.reference import ReferenceEncoder
from preprocess.encode.segmenters import SegmenterSpec
from preprocess.encode.tokenizer import describe_tokenizer


def make_encoder(spec: EncoderSpec) -> Encoder:
    """The encoder that a spec names."""
    encoder = _make_encoder(spec)
    describe_tokenizer.cache_clear()  # tens of megabytes a worker, of which encoders keep little
    return encoder


def _make_encoder(spec: EncoderSpec) -> Encoder:
    if spec.kind == "compiled":
        return _compiled_encoder(spec.tokenizer_json, spec.segmenter)
    if spec.kind == "library":
        library = LibraryTokenizer(spec.tokenizer_json)
        return AlignedEncoder(spec.tokenizer_json, spec.segmenter, library)
    return ReferenceEncoder(spec.tokenizer_json, spec.segmenter)


def _compiled_encoder(tokenizer_json: str, segmenter: SegmenterSpec) -> Encoder:
    makers: dict[str, Callable[[str], DocumentTokenizer]] = {
        "byte-level BPE": ByteLevelTokenizer,
        "BPE over characters": CharacterBpeTokenizer,
        "Unigram": UnigramTokenizer,
    }
    make = makers.get(_model_kind(tokenizer_json))
    if make is None:
        return CompiledEncoder(tokenizer_json, segmenter)
    return AlignedEncoder(tokenizer_json, segmenter, make(tokenizer_json))


def unsupported_reason(tokenizer_json: str, segmenter: SegmenterSpec) -> str | None:
    """Why a tokenizer with a segmenter cannot be compiled; None if it can."""
    rules = {
        "byte-level BPE": byte_level_rules,
        "BPE over characters": character_bpe_rules,
        "Unigram": unigram_rules,
    }.get(_model_kind(tokenizer_json))
    if rules is None:
        return encoder.unsupported_reason(tokenizer_json, segmenter)
    return str(reason) if (reason := rules.unsupported_reason(tokenizer_json)) else None


def _model_kind(tokenizer_json: str) -> str:
    description = describe_tokenizer(tokenizer_json)
    kind = str(description["model"]["type"])
    if kind != "BPE":
        return kind
    over_characters = character_bpe_rules.is_over_characters(description)
    return "BPE over characters" if over_characters else "byte-level BPE"


def choose_encoder(
    requested: str, tokenizer_json: str, segmenter: SegmenterSpec
) -> tuple[str, str | None]:
    """Resolve `auto`: `(kind, reason)`, the reason being why the compiled one cannot be used."""
    if requested not in ("auto", "compiled"):
        return requested, None
    reason = unsupported_reason(tokenizer_json, segmenter)
    if requested == "auto":
        return ("library" if reason else "compiled"), reason
    return requested, reason
