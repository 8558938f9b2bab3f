"""XXH3-64 (seed 0) of many texts in one call: the hash that decides which documents are held out.

The xxhash library hashes faster, but a call for each short document cost more than the hash. Rule
and
constants: the XXH3 specification, https://github.com/Cyan4973/xxHash (doc/xxhash_spec.md).
"""

import numpy as np

from preprocess.kernels import kernel

_SECRET_TEXT = (
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_SECRET = np.frombuffer(bytes.fromhex(_SECRET_TEXT), np.uint8)
_P32_1, _P32_2, _P32_3 = (np.uint64(n) for n in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D))
_P64_1, _P64_2, _P64_3, _P64_4, _P64_5 = (
    np.uint64(n)
    for n in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)
_MIX, _RRMXMX = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)
_LOW = np.uint64(0xFFFFFFFF)
_STRIPE, _STRIPES_A_BLOCK = 64, 16
_LAST_SECRET = 192 - _STRIPE


@kernel
def _read32(data, at):  # type: ignore[no-untyped-def]
    value = np.uint64(0)
    for i in range(4):
        value |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return value


@kernel
def _read64(data, at):  # type: ignore[no-untyped-def]
    return _read32(data, at) | (_read32(data, at + 4) << np.uint64(32))


@kernel
def _fold(a, b):  # type: ignore[no-untyped-def]
    """High half xor low half of the 128-bit product."""
    half = np.uint64(32)
    a_low, a_high, b_low, b_high = a & _LOW, a >> half, b & _LOW, b >> half
    low = a_low * b_low
    cross = (low >> half) + a_high * b_low
    other = (cross & _LOW) + a_low * b_high
    high = a_high * b_high + (cross >> half) + (other >> half)
    return high ^ ((other << half) | (low & _LOW))


@kernel
def _avalanche(h):  # type: ignore[no-untyped-def]
    h = (h ^ (h >> np.uint64(37))) * _MIX
    return h ^ (h >> np.uint64(32))


@kernel
def _avalanche_xxh64(h):  # type: ignore[no-untyped-def]
    h = (h ^ (h >> np.uint64(33))) * _P64_2
    h = (h ^ (h >> np.uint64(29))) * _P64_3
    return h ^ (h >> np.uint64(32))


@kernel
def _swap64(value):  # type: ignore[no-untyped-def]
    swapped = np.uint64(0)
    for i in range(8):
        swapped = (swapped << np.uint64(8)) | ((value >> np.uint64(8 * i)) & np.uint64(0xFF))
    return swapped


@kernel
def _mix16(data, at, secret):  # type: ignore[no-untyped-def]
    low, high = _read64(data, at), _read64(data, at + 8)
    return _fold(low ^ _read64(_SECRET, secret), high ^ _read64(_SECRET, secret + 8))


@kernel
def _up_to_16(data, at, size):  # type: ignore[no-untyped-def]
    length = np.uint64(size)
    if size == 0:
        return _avalanche_xxh64(_read64(_SECRET, 56) ^ _read64(_SECRET, 64))
    if size <= 3:
        first, middle = np.uint64(data[at]), np.uint64(data[at + (size >> 1)])
        combined = (first << np.uint64(16)) | (middle << np.uint64(24))
        combined |= np.uint64(data[at + size - 1]) | (length << np.uint64(8))
        return _avalanche_xxh64(combined ^ _read32(_SECRET, 0) ^ _read32(_SECRET, 4))
    if size <= 8:
        value = _read32(data, at + size - 4) + (_read32(data, at) << np.uint64(32))
        h = value ^ _read64(_SECRET, 8) ^ _read64(_SECRET, 16)
        h ^= ((h << np.uint64(49)) | (h >> np.uint64(15))) ^ (
            (h << np.uint64(24)) | (h >> np.uint64(40))
        )
        h *= _RRMXMX
        h = (h ^ ((h >> np.uint64(35)) + length)) * _RRMXMX
        return h ^ (h >> np.uint64(28))
    low = _read64(data, at) ^ _read64(_SECRET, 24) ^ _read64(_SECRET, 32)
    high = _read64(data, at + size - 8) ^ _read64(_SECRET, 40) ^ _read64(_SECRET, 48)
    return _avalanche(length + _swap64(low) + high + _fold(low, high))


@kernel
def _up_to_240(data, at, size):  # type: ignore[no-untyped-def]
    total = np.uint64(size) * _P64_1
    if size <= 128:
        for i in range((size - 1) // 32 + 1):
            total += _mix16(data, at + 16 * i, 32 * i)
            total += _mix16(data, at + size - 16 * (i + 1), 32 * i + 16)
        return _avalanche(total)
    for i in range(8):
        total += _mix16(data, at + 16 * i, 16 * i)
    total = _avalanche(total)
    for i in range(8, size // 16):
        total += _mix16(data, at + 16 * i, 16 * (i - 8) + 3)
    return _avalanche(total + _mix16(data, at + size - 16, 136 - 17))


@kernel
def _accumulate(lanes, data, at, secret):  # type: ignore[no-untyped-def]
    for i in range(8):
        value = _read64(data, at + 8 * i)
        keyed = value ^ _read64(_SECRET, secret + 8 * i)
        lanes[i ^ 1] += value
        lanes[i] += (keyed & _LOW) * (keyed >> np.uint64(32))


@kernel
def _long(data, at, size, lanes):  # type: ignore[no-untyped-def]
    lanes[0], lanes[1], lanes[2], lanes[3] = _P32_3, _P64_1, _P64_2, _P64_3
    lanes[4], lanes[5], lanes[6], lanes[7] = _P64_4, _P32_2, _P64_5, _P32_1
    for stripe in range((size - 1) // _STRIPE):
        place = stripe % _STRIPES_A_BLOCK
        _accumulate(lanes, data, at + _STRIPE * stripe, 8 * place)
        # A block is scrambled once another byte follows it.
        if place == _STRIPES_A_BLOCK - 1:
            for i in range(8):
                lane = lanes[i] ^ (lanes[i] >> np.uint64(47))
                lanes[i] = (lane ^ _read64(_SECRET, _LAST_SECRET + 8 * i)) * _P32_1
    _accumulate(lanes, data, at + size - _STRIPE, _LAST_SECRET - 7)
    total = np.uint64(size) * _P64_1
    for i in range(4):
        total += _fold(
            lanes[2 * i] ^ _read64(_SECRET, 11 + 16 * i),
            lanes[2 * i + 1] ^ _read64(_SECRET, 19 + 16 * i),
        )
    return _avalanche(total)


@kernel
def hash_documents(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """XXH3-64 of every document.

    Args:
        data: uint8 `[bytes]`, the documents' UTF-8 end to end.
        offsets: int64 `[documents + 1]`.

    Returns:
        uint64 `[documents]`.
    """
    hashes = np.empty(len(offsets) - 1, np.uint64)
    lanes = np.empty(8, np.uint64)
    for document in range(len(hashes)):
        at = offsets[document]
        size = offsets[document + 1] - at
        if size <= 16:
            hashes[document] = _up_to_16(data, at, size)
        elif size <= 240:
            hashes[document] = _up_to_240(data, at, size)
        else:
            hashes[document] = _long(data, at, size, lanes)
    return hashes
