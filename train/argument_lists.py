"""Lists on a command line: values with spaces between them, or the name repeated; both add up."""


def merge_lists(arguments: list[str], flags: set[str]) -> list[str]:
    """Let a list that is given twice add up: all its values stand behind its first mention."""
    merged: list[str] = []
    ends: dict[str, int] = {}
    current = None
    for word in arguments:
        name, equals, value = word.partition("=")
        spelt = name.replace("_", "-")
        if not word.startswith("--"):
            values = [word]
        elif spelt not in flags:
            current, values = None, [word]
        else:
            current, values = spelt, [value] if equals else []
            if spelt not in ends:
                merged.append(spelt)
                ends[spelt] = len(merged)
        if current is None:
            merged += values
            continue
        at = ends[current]
        merged[at:at] = values
        ends = {key: end + len(values) * (end >= at) for key, end in ends.items()}
    return merged


def repeated(arguments: list[str], flags: set[str]) -> tuple[str, int] | None:
    """An option that is given several times, and how often: a parser would take the last."""
    words = [word.partition("=")[0] for word in arguments]
    given = [word.replace("_", "-") for word in words if word in flags]
    for name in given:
        if given.count(name) > 1 and name != "--local-rank":
            return name, given.count(name)
    return None
