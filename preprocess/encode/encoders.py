"""Which encoder a build uses: the compiled one wherever it can be used, else the library's."""

from preprocess.encode.aligned import AlignedEncoder
from preprocess.encode.compiled.encoder import CompiledEncoder, unsupported_reason
from preprocess.encode.library import LibraryTokenizer
from preprocess.encode.protocol import Encoder, EncoderSpec
from preprocess.encode.reference import ReferenceEncoder
from preprocess.encode.segmenters import SegmenterSpec


def make_encoder(spec: EncoderSpec) -> Encoder:
    """The encoder that a spec names."""
    if spec.kind == "compiled":
        return CompiledEncoder(spec.tokenizer_json, spec.segmenter)
    if spec.kind == "library":
        library = LibraryTokenizer(spec.tokenizer_json)
        return AlignedEncoder(spec.tokenizer_json, spec.segmenter, library)
    return ReferenceEncoder(spec.tokenizer_json, spec.segmenter)


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
