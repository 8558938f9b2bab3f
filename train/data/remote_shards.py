"""Shards at an address: what is small is copied to this machine, record batches when wanted."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import xxhash

from preprocess.addresses import check_address, parallel, protocol_of
from preprocess.errors import WholewordError
from preprocess.files import write_bytes
from preprocess.places import Place
from preprocess.write.manifest import FILE, Manifest, read_manifest
from train.data.batch_cache import BatchCache, CacheOptions, StoredBatch

DATASETS = "datasets"


class RemoteShards:
    """A dataset at an address, as a folder without shards and what reads their record batches.

    Args:
        address: what build-shards wrote.
        cache: of this machine.

    Attributes:
        folder: has the manifest, the tokenizer and, once `copy_index` was called, indexes; another
            one where the dataset is another.
    """

    def __init__(self, address: Place, cache: CacheOptions) -> None:
        check_address(str(address), "--data")
        self.address = address
        data = _read(address, FILE)
        parts = [protocol_of(str(address)), *str(address).split("://")[1].split("/")]
        name = xxhash.xxh3_64_hexdigest(data)
        self.folder = cache.folder.joinpath(DATASETS, *(p for p in parts if p.strip(".")), name)
        self._cache = BatchCache(cache)
        self._keep(FILE, data)
        self.manifest: Manifest = read_manifest(self.folder)
        # (Older manifests do not list them.)
        files = self.manifest.tokenizer.files or dict.fromkeys(
            (address / "tokenizer").entries(), ""
        )
        with ThreadPoolExecutor(parallel()) as pool:
            list(pool.map(self._copy, (f"tokenizer/{file}" for file in files), files.values()))

    def copy_index(self, part: str) -> None:
        """Copy a part's index, unless it is there."""
        self._copy(f"{part}/index.arrow", self.manifest.parts[part].index_xxh3_128)  # type: ignore[index]

    def sizes(self, part: str) -> dict[str, int]:
        """Bytes of what lies in a part, by its name in the dataset."""
        entries = (self.address / part).entries()
        return {f"{part}/{name}": int(entry["size"] or 0) for name, entry in entries.items()}

    def batch(self, file: str, offset: int, size: int, xxh3_64: int) -> StoredBatch:
        """A record batch of a shard."""
        shard = self.address / file
        fetch = partial(shard.read_range, offset, offset + size)
        return StoredBatch(xxh3_64, size, fetch, f"{shard}: record batch at byte {offset}")

    def read(self, batch: StoredBatch) -> pa.Buffer:
        """Its bytes, which are what was built."""
        return self._cache.read(batch)

    def fetch_ahead(self, batches: list[StoredBatch]) -> None:
        """Begin to fetch record batches."""
        self._cache.fetch_ahead(batches)

    def _copy(self, file: str, xxh3_128: str) -> None:
        """Copy a file, unless it is there."""
        path = self.folder / file
        if path.exists() and xxhash.xxh3_128_hexdigest(path.read_bytes()) == xxh3_128:
            return
        self._keep(file, _read(self.address, file))

    def _keep(self, file: str, data: bytes) -> None:
        path = self.folder / file
        try:
            if path.exists() and path.read_bytes() == data:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, data, shared=True)
        except OSError as error:
            raise WholewordError(
                f"{path}: cannot be written ({error.strerror or error}); name another --data-cache"
            ) from error


def _read(address: Place, file: str) -> bytes:
    try:
        return (address / file).read_bytes()
    except FileNotFoundError as error:
        if file != FILE:
            raise WholewordError(
                f"{address / file}: is missing, though the manifest names it; build the shards "
                "again, or copy them again"
            ) from error
        raise WholewordError(
            f"{address}: holds no finished shards ({FILE}: {getattr(error, 'strerror', error)}); "
            f"run `python -m preprocess build-shards --output {address}`"
        ) from error
