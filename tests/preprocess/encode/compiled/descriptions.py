"""What `tokenizer.json` holds, changed."""

import json
from collections.abc import Callable
from typing import Any

Description = dict[str, Any]


def changed(tokenizer_json: str, change: Callable[[Description], Any]) -> str:
    """A tokenizer of which something is changed."""
    description = json.loads(tokenizer_json)
    change(description)
    return json.dumps(description)
