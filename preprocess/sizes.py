"""Sizes as people write them: 64MiB, 100GB."""

from preprocess.errors import WholewordError

_MAX_DIGITS = 18
_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", 1):
    _UNITS |= {f"{_letter}B": 1000**_power, f"{_letter}IB": 1024**_power, _letter: 1024**_power}


def parse_size(flag: str, text: str, hint: str = "use a size such as 64MiB") -> int:
    """Bytes.

    Args:
        flag: the option, for the message.
        text: a whole number and a unit; K, M, G and T alone are powers of 1,024.
        hint: the remedy.

    Raises:
        WholewordError: it is no size.
    """
    number = text.rstrip("BbiIkKmMgGtT")
    factor = _UNITS.get(text[len(number) :].upper())
    if factor is None or not number.isdecimal() or len(number) > _MAX_DIGITS:
        raise WholewordError(f"{flag} {text}: not a size; {hint}")
    return int(number) * factor
