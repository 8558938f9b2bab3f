"""What DeepSpeed says of a configuration: unknown keys and impossible values, in one line."""

import contextlib
import difflib
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from preprocess.errors import WholewordError

AUTO = "auto"
"""What stands in a file where the command line, or DeepSpeed's default, decides."""

# Read by deepspeed.initialize, not by its DeepSpeedConfig.
_READ_ELSEWHERE = {"data_parallel_size", "sequence_parallel_size"}
# What the resolver takes out before DeepSpeed sees a configuration.
_RESOLVED = {"scheduler", "bfloat16"}
# Keys of sections that DeepSpeed reads one by one; in the others it refuses unknown keys itself.
_INNER_KEYS = {
    "optimizer": ("type", "params", "legacy_fusion"),
    "scheduler": ("type", "params"),
    "data_types": ("grad_accum_dtype", "param_dtype", "buffer_dtype", "keep_in_fp32_modules"),
}
# What to do where an operation of DeepSpeed's cannot be built.
_TOOLS = "install a C++ compiler and ninja"
_CUDA_TOOLS = f"{_TOOLS}, and the CUDA toolkit that torch was built with"
_BUILD_REMEDIES = {
    "cpu_adam": f'{_TOOLS}, or remove "offload_optimizer"',
    "fused_adam": f'{_CUDA_TOOLS}, or remove "torch_adam": false',
    "async_io": f'{_TOOLS} and libaio, or offload to "cpu" instead of "nvme"',
}


def check_keys(given: dict[str, Any], resolved: dict[str, Any], file: str) -> None:
    """Let DeepSpeed read a configuration, and refuse top-level keys that it never asks for.

    DeepSpeed ignores such keys in silence, so a misspelt section would change what is trained.
    Names that begin with "_" or "/" are taken for comments. Inner keys are DeepSpeed's to check,
    but for those of sections in which it does not.

    Args:
        given: the file's content.
        resolved: what was made of it, for this run's number of ranks.
        file: its name, for messages.

    Raises:
        WholewordError: a key is unknown, or DeepSpeed refuses a value.
    """
    from deepspeed.runtime.config import DeepSpeedConfig

    asked: set[str] = set()

    class Asked(dict[str, Any]):
        """A dictionary that notes which keys are asked for."""

        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

        def __getitem__(self, key: str) -> Any:
            asked.add(key)
            return super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            asked.add(str(key))
            return super().__contains__(key)

        def keys(self) -> Any:
            return self  # `key in config.keys()` is a question too

    _check_names(given, _section_names(DeepSpeedConfig, Asked, asked), file)
    for section, names in _INNER_KEYS.items():
        if isinstance(inner := given.get(section), dict):
            _check_names(inner, set(names), file, f"{section}.")
    with readable_refusals(resolved, file):
        DeepSpeedConfig(dict(resolved))


def leave_out_removed(config: dict[str, Any]) -> list[str]:
    """Drop sections that DeepSpeed used to have, where they are off; returns their names.

    DeepSpeed refuses them even so, and files for the Hugging Face Trainer hold some ("amp").
    """
    from deepspeed.runtime import config as deepspeed_config

    left_out = []
    for name in getattr(deepspeed_config, "_REMOVED_TOP_LEVEL_CONFIG_KEYS", ()):
        section = config.get(name)
        switch = section.get("enabled") if isinstance(section, dict) else section
        if switch is False or switch == AUTO:
            del config[name]
            left_out.append(name)
    return left_out


def _section_names(reader: Any, recorder: Any, asked: set[str]) -> set[str]:
    """Every top-level key that `reader` asks a small configuration for."""
    reader(recorder(train_micro_batch_size_per_gpu=1))
    return asked | _READ_ELSEWHERE | _RESOLVED


def _check_names(given: Iterable[str], known: set[str], file: str, path: str = "") -> None:
    for key in given:
        if key in known or key.startswith(("_", "/")):
            continue
        near = difflib.get_close_matches(key, known, 1)
        remedy = f'write "{near[0]}"' if near else "remove it"
        raise WholewordError(f'{file}: DeepSpeed knows no key "{path}{key}" here; {remedy}')


@contextlib.contextmanager
def readable_builds(file: str) -> Iterator[None]:
    """Turn a failed build of one of DeepSpeed's operations into one line that names it.

    What can be missing (a compiler, ninja, a CUDA toolkit, another one than torch's) raises a dozen
    kinds of errors. What they share is where they come from: a method of the operation's builder.
    """
    try:
        yield
    except WholewordError:
        raise
    except Exception as error:
        operation = _operation_of(error)
        if operation is None:
            raise
        raise WholewordError(
            f'{file}: DeepSpeed cannot build its operation "{operation}" ({_cause(error)}); '
            f"{_BUILD_REMEDIES.get(operation, _CUDA_TOOLS)}"
        ) from error


def _operation_of(error: Exception) -> str | None:
    """Name of the operation in whose builder an error was raised, None where it was elsewhere."""
    from deepspeed.ops.op_builder.builder import OpBuilder

    for frame, _ in traceback.walk_tb(error.__traceback__):
        builder = frame.f_locals.get("self")
        if isinstance(builder, OpBuilder):
            return builder.name
    return None


def _cause(error: Exception) -> str:
    """An error in one line: of a compiler's many, the first that says what is wrong."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    telling = [line for line in lines[1:] if "error" in line.lower() or "not found" in line]
    return " ".join(next(iter(telling), lines[0]).split())[:300]


@contextlib.contextmanager
def readable_refusals(config: dict[str, Any], file: str) -> Iterator[None]:
    """Turn what DeepSpeed raises for a configuration into one line that names the key."""
    from deepspeed.runtime.config import DeepSpeedConfigError

    refusals = (DeepSpeedConfigError, TypeError, ValueError, AssertionError, AttributeError)
    try:
        yield
    except WholewordError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        path = _full_path(config, [str(part) for part in first["loc"]])
        cause = "no such key" if first["type"] == "extra_forbidden" else first["msg"]
        raise WholewordError(f'{file}: "{path}": {cause}; compare ds_configs/zero2.json') from error
    except refusals as error:
        cause = " ".join(str(error).split())[:300]
        raise WholewordError(
            f"{file}: DeepSpeed refuses it ({cause}); compare ds_configs/zero2.json"
        ) from error


def _full_path(config: dict[str, Any], inner: list[str]) -> str:
    """The path of a key that is known from within its section only."""
    for name, section in config.items():
        if inner and isinstance(section, dict) and inner[0] in section:
            return ".".join([name, *inner])
    return ".".join(inner)
