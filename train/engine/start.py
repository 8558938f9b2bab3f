"""Hand a model to DeepSpeed."""

import contextlib
import io
from typing import Any

from transformers import PreTrainedModel

from train.engine.config import EnginePlan
from train.engine.keys import readable_builds, readable_refusals
from train.engine.optimizer import (
    find_overflow_at_once,
    keep_gradient_norm,
    keep_rate_ratios,
    parameter_groups,
)
from train.engine.precision import let_scale_stay_at_minimum
from train.options import Options


def start_engine(
    model: PreTrainedModel, plan: EnginePlan, options: Options, leads: bool = False
) -> Any:
    """Hand the model to DeepSpeed.

    Args:
        model: the model.
        plan: what DeepSpeed is given.
        options: of the command line.
        leads: whether this rank writes what its folder's checkpoints hold once for all ranks.

    Raises:
        WholewordError: DeepSpeed refuses the configuration, or cannot build what it asks for.
    """
    import deepspeed

    groups = parameter_groups(model, plan.weight_decay)
    file = options.run.deepspeed
    # Its bf16 optimizer prints ten lines about memory.
    quiet = contextlib.redirect_stdout(io.StringIO())
    with quiet, readable_refusals(plan.config, file), readable_builds(file):
        engine, *_ = deepspeed.initialize(model=model, model_parameters=groups, config=plan.config)
    engine.save_non_zero_checkpoint |= leads
    keep_gradient_norm(engine)
    find_overflow_at_once(engine)
    keep_rate_ratios(engine, plan.learning_rate)
    let_scale_stay_at_minimum(engine)
    if options.optimization.torch_compile:
        engine.compile()
    return engine
