"""A step's result does not depend on how it is cut: over accumulation, ranks and ZeRO stages."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train import runs

# Adam divides by the gradients' own size, so a gradient that is only rounding moves its weight as
# far as any other. A larger epsilon keeps rounding what it is, and weights comparable.
EPSILON = 1e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("equal") / "shards")


@pytest.fixture(scope="module")
def alone(data):
    """One rank, eight micro-batches a step."""
    return run(data, ranks=1, stage=2)


def run(data: Path, ranks: int, stage: int) -> Path:
    """Train for six steps; returns the run's folder."""
    config = json.loads((runs.ROOT / "ds_configs" / f"zero{stage}.json").read_text())
    config["optimizer"]["params"]["eps"] = EPSILON
    file = data.parent / f"zero{stage}.json"
    file.write_text(json.dumps(config))
    output = data.parent / f"run-{ranks}-{stage}"
    result = runs.run(data, output, ranks, "--deepspeed", str(file), "--save-steps", "0")
    assert result.returncode == 0, result.stdout + result.stderr
    return output


def weights(output: Path) -> dict[str, np.ndarray]:
    return load_file(output / "final" / "model.safetensors")


@pytest.mark.parametrize(("ranks", "stage"), [(2, 0), (2, 1), (2, 2), (2, 3), (4, 2)])
def test_ranks_and_stages_do_not_change_the_weights(data, alone, ranks, stage):
    output = run(data, ranks, stage)
    np.testing.assert_allclose(runs.losses(output), runs.losses(alone), rtol=1e-6)
    expected, found = weights(alone), weights(output)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert runs.records(output, "validation")[0]["loss"] == pytest.approx(
        runs.records(alone, "validation")[0]["loss"], rel=1e-6
    )
