"""The files that make a shards folder one that `datasets.load_from_disk` opens."""

from pathlib import Path

import xxhash

from preprocess.write.manifest import Manifest, ShardEntry


def dataset_files(manifest: Manifest) -> dict[str, object]:
    """What `datasets.load_from_disk` reads besides shards: JSON values by file."""
    files: dict[str, object] = {"dataset_dict.json": {"splits": list(manifest.parts)}}
    flags = {"dtype": "bool", "_type": "Value"}
    features = {
        "input_ids": {
            "feature": {"dtype": manifest.id_dtype.name, "_type": "Value"},
            "_type": "List",
        },
        "word_starts": {"feature": flags, "_type": "List"},
        "sentence_starts": {"feature": flags, "_type": "List"},
        "document": {"dtype": "int64", "_type": "Value"},
    }
    for name, part in manifest.parts.items():
        files[f"{name}/dataset_info.json"] = {"features": features}
        files[f"{name}/state.json"] = _dataset_state(name, part.shards)
    return files


def _dataset_state(name: str, shards: tuple[ShardEntry, ...]) -> dict[str, object]:
    fingerprint = xxhash.xxh3_64_hexdigest("".join(shard.xxh3_128 for shard in shards).encode())
    return {
        "_data_files": [{"filename": Path(shard.file).name} for shard in shards],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": name,
    }
