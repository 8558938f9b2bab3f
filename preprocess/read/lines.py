"""Lines of a byte buffer, and documents gathered from lines: two kernels.

A line ends at a line feed; one carriage return before it is dropped; nothing else ends a line. A
blank line is white space only, by `str.isspace`.
"""

import numpy as np

from preprocess.kernels import kernel


@kernel
def _white_space_length(data: np.ndarray, i: int, end: int) -> int:
    """Bytes of the white-space character at `data[i]`, 0 if there is none (`str.isspace`)."""
    byte = data[i]
    if byte == 0x20 or 0x09 <= byte <= 0x0D or 0x1C <= byte <= 0x1F:
        return 1
    if byte == 0xC2 and i + 1 < end:  # U+0085, U+00A0
        return 2 if data[i + 1] == 0x85 or data[i + 1] == 0xA0 else 0
    if i + 2 >= end:
        return 0
    second, third = data[i + 1], data[i + 2]
    if byte == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0  # U+1680
    if byte == 0xE2 and second == 0x80:  # U+2000 to U+200A, U+2028, U+2029, U+202F
        return 3 if 0x80 <= third <= 0x8A or third in (0xA8, 0xA9, 0xAF) else 0
    if byte == 0xE2 and second == 0x81:
        return 3 if third == 0x9F else 0  # U+205F
    return 3 if byte == 0xE3 and second == 0x80 and third == 0x80 else 0  # U+3000


@kernel
def _is_blank(data: np.ndarray, begin: int, end: int) -> bool:
    i = begin
    while i < end:
        length = _white_space_length(data, i, end)
        if length == 0:
            return False
        i += length
    return True


@kernel
def _count_lines(data: np.ndarray) -> int:
    lines = 0
    for i in range(len(data)):
        lines += data[i] == 0x0A
    return lines + (len(data) > 0 and data[-1] != 0x0A)


@kernel
def find_lines(data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find every line; the last one need not end in a line feed.

    Args:
        data: uint8 `[bytes]`, UTF-8 or not.

    Returns:
        `begins` and `ends`, int64 `[lines]`, the line end not included, and `blank`, bool
        `[lines]`.
    """
    count = _count_lines(data)
    begins = np.empty(count, np.int64)
    ends = np.empty(count, np.int64)
    blank = np.empty(count, np.bool_)
    line = 0
    begin = 0
    for i in range(len(data) + 1):
        if i == len(data):
            if begin == i:
                break
        elif data[i] != 0x0A:
            continue
        end = i
        if i < len(data) and end > begin and data[end - 1] == 0x0D:
            end -= 1
        begins[line] = begin
        ends[line] = end
        blank[line] = _is_blank(data, begin, end)
        line += 1
        begin = i + 1
    return begins, ends, blank


@kernel
def find_blank(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Which documents are white space only, or empty.

    Args:
        data: uint8 `[bytes]`, UTF-8 or not.
        offsets: int64 `[documents + 1]`.

    Returns:
        bool `[documents]`.
    """
    blank = np.empty(len(offsets) - 1, np.bool_)
    for i in range(len(blank)):
        blank[i] = _is_blank(data, offsets[i], offsets[i + 1])
    return blank


@kernel
def gather_documents(
    data: np.ndarray, begins: np.ndarray, ends: np.ndarray, documents: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Copy lines into documents, a line feed between two lines of one document.

    Args:
        data: uint8 `[bytes]`.
        begins: int64 `[lines]`, where lines begin.
        ends: int64 `[lines]`, where they end.
        documents: int64 `[lines]`, ascending: each line's document, -1 for a line to leave out.
        count: number of documents.

    Returns:
        `offsets`, int64 `[count + 1]`, and `text`, uint8 `[offsets[count]]`.
    """
    size = 0
    previous = -1
    for line in range(len(documents)):
        if documents[line] >= 0:
            size += ends[line] - begins[line] + (documents[line] == previous)
            previous = documents[line]
    text = np.empty(size, np.uint8)
    offsets = np.zeros(count + 1, np.int64)
    position = 0
    previous = -1
    for line in range(len(documents)):
        document = documents[line]
        if document < 0:
            continue
        if document == previous:
            text[position] = 0x0A
            position += 1
        length = ends[line] - begins[line]
        text[position : position + length] = data[begins[line] : ends[line]]
        position += length
        offsets[document + 1] = position
        previous = document
    return offsets, text
