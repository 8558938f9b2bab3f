"""Which encoder a build uses: the compiled one wherever it can be used."""

from preprocess.encode.compiled.encoder import CompiledEncoder, unsupported_reason
from preprocess.encode.protocol import Encoder, EncoderSpec
from preprocess.encode.reference import ReferenceEncoder
from preprocess.encode.segmenters import SegmenterSpec


def make_encoder(spec: EncoderSpec) -> Encoder:
    """The encoder that a spec names."""
    if spec.kind == "compiled":
        return CompiledEncoder(spec.tokenizer_json, spec.segmenter)
    return ReferenceEncoder(spec.tokenizer_json, spec.segmenter)


def choose_encoder(
    requested: str, tokenizer_json: str, segmenter: SegmenterSpec
) -> tuple[str, str | None]:
    """Resolve `auto`: `(kind, reason)`, the reason being why the compiled one cannot be used."""
    reason = unsupported_reason(tokenizer_json, segmenter)
    if requested == "auto":
        return ("reference" if reason else "compiled"), reason
    return requested, reason if requested == "compiled" else None
