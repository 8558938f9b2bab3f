"""Sets of options that published protocols use; see docs/recipes.md for what each leaves out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A protocol's values for options that the command line does not give."""

    source: str
    """Who published it."""
    values: Mapping[str, Any]
    """By the options' names."""


_LINEAR = {
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.06,
    "weight_decay": 0.01,
    "mlm_probability": "0.15",
}
RECIPES = {
    "tapt": Recipe(
        "task-adaptive pretraining, Gururangan et al., 2020",
        {"num_train_epochs": 100.0, "learning_rate": 1e-4, "global_batch_size": 256, **_LINEAR},
    ),
    "dapt": Recipe(
        "domain-adaptive pretraining, Gururangan et al., 2020",
        {"num_train_epochs": 1.0, "learning_rate": 5e-4, "global_batch_size": 2048, **_LINEAR},
    ),
    "from-nothing": Recipe(
        "BERT on an academic budget, Izsak et al., 2021",
        {"learning_rate": 1e-3, "global_batch_size": 4096, **_LINEAR},
    ),
}


def apply_recipe(
    name: str, groups: list[Any], given: frozenset[str]
) -> tuple[list[Any], frozenset[str], str]:
    """Give options a recipe's values, unless the command line gives them.

    Args:
        name: of the recipe.
        groups: frozen dataclasses of options.
        given: names of the options that the command line spells out.

    Returns:
        The groups, the names of the values that were set, and a line that says them.
    """
    recipe = RECIPES[name]
    taken = {key: value for key, value in recipe.values.items() if key not in given}
    if "max_steps" in given:
        taken.pop("num_train_epochs", None)
    if "gradient_accumulation_steps" in given:
        taken.pop("global_batch_size", None)
    changed = []
    for group in groups:
        own = {key: value for key, value in taken.items() if hasattr(group, key)}
        changed.append(replace(group, **own) if own else group)
    said = " ".join(f"--{key.replace('_', '-')} {_spell(value)}" for key, value in taken.items())
    line = f"recipe {name} ({recipe.source}): {said or 'every value is given already'}"
    return changed, frozenset(taken), line


def _spell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
