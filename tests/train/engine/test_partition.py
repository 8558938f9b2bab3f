"""Loading for ZeRO-3: the same weights as without, and no whole model beyond rank 0."""

import json
import socket
import subprocess
import sys

import pytest

from tests.train.runs import ROOT, environment


def test_ranks_hold_their_part_of_the_same_model():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.train.partition_ranks"],
            cwd=ROOT,
            env=environment()
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    lines = [rank.communicate(timeout=120)[0].strip().splitlines()[-1] for rank in ranks]
    first, second = sorted(map(json.loads, lines), key=lambda found: found["rank"])
    for found in (first, second):
        assert found["why_padded"] == "for a test" and found["same"] and found["tied"]
        assert found["held"] == pytest.approx(0.5, abs=0.01)
    assert first["grown"] > 0.95, "rank 0 loads it whole, so this measures something"
    assert second["grown"] < 0.75, "its half, and one parameter at a time"
