"""From a DeepSpeed configuration file and a command line to what DeepSpeed is given.

`"auto"` values come from the command line, as with the Hugging Face Trainer, whose files load
unchanged. A value that stands in both places with two meanings is an error that shows both. On a
CPU what cannot work there is replaced, and every replacement is reported.
"""

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.errors import WholewordError
from train.engine.adam import check_torch_adam
from train.engine.keys import AUTO, leave_out_removed
from train.engine.precision import allow_fp16_on_cpu, cpu_has_bf16, fall_back
from train.engine.scheduler import KINDS, check_scheduler
from train.engine.sections import leave_out_unused, refused_keys
from train.engine.zero import fit_zero, offloads
from train.options import Options, flag

ROOT = Path(__file__).resolve().parents[2]

# Where a file's value and a command line's option mean the same.
_SHARED = {
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "train_batch_size": "global_batch_size",
    "gradient_clipping": "max_grad_norm",
    "optimizer.params.lr": "learning_rate",
    "optimizer.params.weight_decay": "weight_decay",
}
# RoBERTa's AdamW; no option changes them, a configuration file can.
_ADAM = {"betas": [0.9, 0.98], "eps": 1e-6}
_CPU_OPTIMIZERS = ("adam", "adamw", "muon")  # those of DeepSpeed's that need no kernel of its own


@dataclass(frozen=True)
class Hardware:
    """What a rank runs on."""

    device: str
    """Torch's name of the device type, "cpu" or "cuda"."""
    bf16: bool
    """Whether it multiplies bf16 in hardware."""
    cpu_fp16: bool = False
    """Whether fp16 is wanted on a CPU too, slow as it is (`WHOLEWORD_CPU_FP16=1`, for tests)."""


@dataclass(frozen=True)
class EnginePlan:
    """A configuration with nothing left open."""

    config: dict[str, Any]
    """What `deepspeed.initialize` gets."""
    notes: tuple[str, ...]
    """What was changed, a sentence each, for the person who started the run."""
    stage: int
    """ZeRO's stage, 0 to 3."""
    precision: str
    """One of "fp16", "bf16" and "fp32"."""
    micro_batch_size: int
    """Rows of full length in one micro-batch."""
    accumulation: int
    """Micro-batches a rank sums."""
    learning_rate: float
    """The highest."""
    weight_decay: float
    """Of the parameters that decay."""
    schedule: str
    """One of "linear", "cosine", "constant" and "wsd"."""
    warmup_steps: int | None
    """Given by the file; None where --warmup-ratio decides."""


def detect_hardware() -> Hardware:
    """Look at this machine; `DS_ACCELERATOR=cpu` makes a GPU invisible."""
    from deepspeed.accelerator import get_accelerator

    device = get_accelerator().device_name()
    if device == "cpu":
        bf16 = cpu_has_bf16()
        return Hardware(device, bf16, cpu_fp16=allow_fp16_on_cpu())
    return Hardware(device, get_accelerator().is_bf16_supported())


def read_config(path: str) -> dict[str, Any]:
    """Read a configuration; the files in ds_configs/ are found from any folder.

    Raises:
        WholewordError: the file is missing or is not a JSON object.
    """
    file = Path(path)
    if not file.exists() and (ROOT / path).exists():
        file = ROOT / path
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WholewordError(
            f"{path}: no such DeepSpeed configuration; give one of ds_configs/*.json"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise WholewordError(f"{path}: not a JSON file ({error}); mend it") from None
    if not isinstance(value, dict):
        raise WholewordError(f"{path}: holds no JSON object; compare ds_configs/zero2.json")
    return value


def make_engine_plan(
    config: dict[str, Any], options: Options, world_size: int, hardware: Hardware
) -> EnginePlan:
    """Resolve `config` for `world_size` ranks.

    Raises:
        WholewordError: file and command line contradict each other, or a value is impossible.
    """
    resolver = _Resolver(copy.deepcopy(config), options, hardware)
    resolver.check_sections()
    micro_batch_size, accumulation = resolver.batch(world_size)
    schedule, warmup_steps = resolver.schedule()
    precision = resolver.precision()
    stage = resolver.zero(precision, world_size)
    resolver.gradients(precision)
    learning_rate, weight_decay = resolver.optimizer(stage)
    resolver.settle("gradient_clipping")
    resolver.drop_remaining_autos()
    return EnginePlan(
        resolver.config,
        tuple(resolver.notes),
        stage,
        precision,
        micro_batch_size,
        accumulation,
        learning_rate,
        weight_decay,
        schedule,
        warmup_steps,
    )


class _Resolver:
    """The configuration on its way from file to plan; each method settles one section."""

    def __init__(self, config: dict[str, Any], options: Options, hardware: Hardware) -> None:
        self.config = config
        self.options = options
        self.hardware = hardware
        self.file = options.run.deepspeed
        self.notes: list[str] = []

    # ------------------------------------------------------------------ reading and writing

    def error(self, cause: str, remedy: str) -> WholewordError:
        return WholewordError(f"{self.file}: {cause}; {remedy}")

    def section(self, name: str) -> dict[str, Any]:
        """A section of the file, made if it is not there."""
        section = self.config.setdefault(name, {})
        if not isinstance(section, dict):
            raise self.error(f'"{name}" is not an object', "compare ds_configs/zero2.json")
        return section

    def option(self, name: str) -> Any:
        return getattr(self.options.optimization, name)

    def settle(self, path: str, positive: bool = False) -> float:
        """Write the number that the file or the command line gives for `path`, and return it."""
        name = _SHARED[path]
        value = self.stated(path)
        if value is None:
            value = self.option(name)
        elif name in self.options.given and self.option(name) != value:
            raise self.error(
                f'"{path}" is {value}, the command line says {flag(name)} {self.option(name)}',
                'make them equal, or write "auto" in the file',
            )
        least = 1 if positive else 0
        if not math.isfinite(value) or value < least:
            raise self.error(f'"{path}" is {value}', f"give a number of {least} or more")
        *sections, key = path.split(".")
        self.nested(sections)[key] = value
        return value

    def stated(self, path: str) -> float | None:
        """The number in the file, or None where it has none or "auto"."""
        *sections, key = path.split(".")
        value = self.nested(sections).get(key, AUTO)
        if value == AUTO or value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f'"{path}" is {value!r}', 'give a number, or "auto"')
        return value

    def nested(self, sections: list[str]) -> dict[str, Any]:
        here = self.config
        for name in sections:
            here = here.setdefault(name, {})
            if not isinstance(here, dict):
                raise self.error(f'"{name}" is not an object', "compare ds_configs/zero2.json")
        return here

    # ------------------------------------------------------------------------- the sections

    def check_sections(self) -> None:
        for name in leave_out_removed(self.config):
            self.notes.append(f'"{name}" -> left out: it is off, and DeepSpeed no longer has it')
        for cause, remedy in refused_keys(self.config):
            raise self.error(cause, remedy)
        self.notes += leave_out_unused(self.config)

    def batch(self, world_size: int) -> tuple[int, int]:
        """Micro-batch size and accumulation; a global batch size decides the accumulation."""
        micro = int(self.settle("train_micro_batch_size_per_gpu", positive=True))
        whole = self.stated("train_batch_size")
        if whole is not None or self.option("global_batch_size"):
            whole = int(self.settle("train_batch_size", positive=True))
            accumulation = self._accumulation(whole, micro, world_size)
        else:
            accumulation = int(self.settle("gradient_accumulation_steps", positive=True))
        self.config["train_micro_batch_size_per_gpu"] = micro
        self.config["gradient_accumulation_steps"] = accumulation
        self.config["train_batch_size"] = micro * accumulation * world_size
        return micro, accumulation

    def _accumulation(self, whole: int, micro: int, world_size: int) -> int:
        accumulation, rest = divmod(whole, micro * world_size)
        if rest or not accumulation:
            raise self.error(
                f"a global batch of {whole} rows is no multiple of {micro} rows x {world_size} "
                "ranks",
                "change --global-batch-size or --per-device-train-batch-size",
            )
        stated = self.stated("gradient_accumulation_steps")
        given = "gradient_accumulation_steps" in self.options.given
        for value in (stated, self.option("gradient_accumulation_steps") if given else None):
            if value is not None and value != accumulation:
                raise self.error(
                    f"a global batch of {whole} rows is {micro} rows x {world_size} ranks x "
                    f"{accumulation} micro-batches, not x {value}",
                    "give the global batch or the accumulation, not both",
                )
        return accumulation

    def precision(self) -> str:
        """Settle on one number format and write both sections."""
        asked = self.option("precision")
        in_file = self._precision_in_file()
        if in_file and asked not in (AUTO, in_file):
            raise self.error(
                f"asks for {in_file}, the command line says --precision {asked}",
                'make them equal, or write "auto" for "enabled" in the file',
            )
        precision = in_file or (asked if asked != AUTO else "fp16")
        if precision == "fp16" and self.hardware.device == "cpu":
            precision, note = fall_back(self.hardware.bf16, self.hardware.cpu_fp16)
            self.notes.append(note)
        for name in ("fp16", "bf16"):
            self.section(name)["enabled"] = precision == name
            self.config[name] = self.config[name] if precision == name else {"enabled": False}
        return precision

    def _precision_in_file(self) -> str | None:
        if "bfloat16" in self.config:  # DeepSpeed's older name
            self.config["bf16"] = self.config.pop("bfloat16")
        values = {name: self.section(name).get("enabled", AUTO) for name in ("fp16", "bf16")}
        for name, value in values.items():
            if value not in (True, False, AUTO) or isinstance(value, int) != isinstance(
                value, bool
            ):
                raise self.error(f'"{name}.enabled" is {value!r}', 'write true, false or "auto"')
        if values["fp16"] is True and values["bf16"] is True:
            raise self.error("both fp16 and bf16 are enabled", "disable one")
        for name, value in values.items():
            if value is True:
                return name
        return "fp32" if values == {"fp16": False, "bf16": False} else None

    def zero(self, precision: str, world_size: int) -> int:
        section = self.section("zero_optimization")
        stage = section.get("stage", 0)
        if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
            raise self.error(f'"zero_optimization.stage" is {stage!r}', "write 0, 1, 2 or 3")
        stage, notes = fit_zero(section, stage, precision, world_size, self.hardware.device)
        self.notes += notes
        return stage

    def gradients(self, precision: str) -> None:
        """Sum gradients over micro-batches and ranks in fp32, unless the file says otherwise.

        DeepSpeed takes the model's 16 bits for both, and a step then depends on how it is cut: by
        up to a tenth of a weight's way (scripts/measure_cuts.py). The price is 2 bytes more a
        gradient, which ZeRO divides among the ranks from stage 2 on, and twice the bytes sent.
        """
        if precision == "fp32":
            return
        types = self.section("data_types")
        for section, key in ((types, "grad_accum_dtype"), (self.config, "communication_data_type")):
            if section.get(key) in (None, AUTO):
                section[key] = "fp32"

    def optimizer(self, stage: int) -> tuple[float, float]:
        section = self.section("optimizer")
        kind = section.setdefault("type", "AdamW")
        if not isinstance(kind, str):
            raise self.error(f'"optimizer.type" is {kind!r}', 'write "AdamW"')
        learning_rate = self.settle("optimizer.params.lr")
        weight_decay = self.settle("optimizer.params.weight_decay")
        params = self.nested(["optimizer", "params"])
        adam = kind.lower() in ("adam", "adamw")
        for key, value in _ADAM.items():
            if params.get(key, AUTO if adam else None) == AUTO:
                params[key] = value
        if adam and kind.lower() == "adam":
            params.setdefault("adam_w_mode", True)
        self._check_optimizer(kind)
        if adam:
            self._torch_adam(params)
        elif stage:
            self.config.setdefault("zero_allow_untested_optimizer", True)
        return learning_rate, weight_decay

    def _check_optimizer(self, kind: str) -> None:
        """Refuse an optimizer that neither DeepSpeed nor torch has, or not for a CPU."""
        import torch
        from deepspeed.runtime.config import DEEPSPEED_OPTIMIZERS

        remedy = 'write "AdamW" for "optimizer.type"'
        if kind.lower() not in DEEPSPEED_OPTIMIZERS:
            found = isinstance(getattr(torch.optim, kind, None), type)
            if not found or kind in ("Optimizer", "LBFGS", "SparseAdam"):  # no use for this loop
                raise self.error(f"neither DeepSpeed nor torch has an optimizer {kind!r}", remedy)
        elif self.hardware.device == "cpu" and kind.lower() not in _CPU_OPTIMIZERS:
            raise self.error(f"{kind} has no CPU version", remedy)

    def _torch_adam(self, params: dict[str, Any]) -> None:
        """Use torch's fused AdamW, unless the file asks for DeepSpeed's or offloads its states.

        DeepSpeed's own has to be compiled: that takes a compiler, a CUDA toolkit and minutes.
        """
        asked = params.get("torch_adam", AUTO)
        if not isinstance(asked, bool) and asked != AUTO:
            raise self.error(
                f'"optimizer.params.torch_adam" is {asked!r}', 'write true, false or "auto"'
            )
        elsewhere = offloads(self.section("zero_optimization"), "offload_optimizer")
        if asked is not True and (elsewhere or (asked is False and self.hardware.device != "cpu")):
            return
        if asked is not True:
            self.notes.append("optimizer -> torch's fused AdamW: DeepSpeed's has to be compiled")
        check_torch_adam(params, self.hardware.device != "cpu", self.error)
        params["torch_adam"] = True
        params.setdefault("fused", not params.get("foreach"))

    def schedule(self) -> tuple[str, int | None]:
        """Translate a "scheduler" section into ours, which the loop steps."""
        section = self.config.pop("scheduler", None)
        if not section:
            return self.option("lr_scheduler_type"), None
        kind = section.get("type") if isinstance(section, dict) else None
        if not isinstance(kind, str) or kind not in KINDS:
            raise self.error(
                f"the scheduler {kind!r} is not offered",
                "remove that section and use --lr-scheduler-type",
            )
        name = KINDS[kind]
        given = self.options.given
        if "lr_scheduler_type" in given and self.option("lr_scheduler_type") != name:
            raise self.error(
                f'"scheduler.type" {kind} is {name}, the command line says '
                f"--lr-scheduler-type {self.option('lr_scheduler_type')}",
                "make them equal, or remove that section",
            )
        params = section.get("params") or {}
        if not isinstance(params, dict):
            raise self.error('"scheduler.params" is not an object', "remove that section")
        rate = self.settle("optimizer.params.lr")
        self.notes += check_scheduler(kind, params, rate, self.option("max_steps"), self.error)
        warmup = params.get("warmup_num_steps", AUTO)
        if warmup == AUTO:
            return name, None
        if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
            raise self.error(
                f'"scheduler.params.warmup_num_steps" is {warmup!r}', 'give a number, or "auto"'
            )
        if "warmup_ratio" in given:
            raise self.error(
                f'"scheduler.params.warmup_num_steps" is {warmup}, the command line says '
                f"--warmup-ratio {self.option('warmup_ratio')}",
                'write "auto" in the file, or leave the option out',
            )
        return name, warmup

    def drop_remaining_autos(self) -> None:
        """Leave every other "auto" to DeepSpeed's defaults."""

        def drop(section: dict[str, Any], path: str) -> None:
            for key in list(section):
                if isinstance(section[key], dict):
                    drop(section[key], f"{path}{key}.")
                elif section[key] == AUTO:
                    del section[key]
                    self.notes.append(f'"{path}{key}": "auto" -> DeepSpeed\'s default')

        drop(self.config, "")
