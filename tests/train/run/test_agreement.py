"""What ranks compare before they compute."""

import dataclasses
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from preprocess.errors import WholewordError
from train.engine.place import find_place
from train.engine.process_group import Ranks
from train.options import parse
from train.run import agreement


def beside(*others):
    """Rank 0 of a run whose other ranks send these values, one a gather."""
    sent = iter(others)

    class Beside(Ranks):
        def gather(self, value):
            other = next(sent)
            return [value, other(value) if callable(other) else other]

        def share(self, value):
            return value

    return Beside(0, 2, torch.device("cpu"))


def changed(**values):
    return lambda sent: ("node2", sent[1] | values)


PLAN = SimpleNamespace(config={"gradient_clipping": 1.0})


@pytest.mark.parametrize(
    ("gathers", "words"),
    [
        ([changed(torch="2.9")], "rank 1 on node2 has other versions than rank 0 on"),
        ([changed(), changed(seed=7)], "has other options than rank 0"),
        ([changed(), changed(), changed(gradient_clipping=2.0)], "gradient_clipping: 1.0 -> 2.0"),
    ],
)
def test_a_rank_that_differs_is_named(gathers, words):
    with pytest.raises(WholewordError, match=words):
        agreement.check_same_command(parse([]), PLAN, beside(*gathers))


def test_places_may_differ():
    """Machines that keep their own files have them where they like."""
    a = parse(["--output-dir", "a", "--data", "x", "--local-rank", "0"])
    b = parse(["--output-dir", "b", "--data", "y", "--local-rank", "1"])
    sent = []
    everything = beside(*[lambda value: sent.append(value) or value] * 3)
    agreement.check_same_command(a, PLAN, everything)
    agreement.check_same_command(b, PLAN, beside(*sent))


def test_other_shards_are_named():
    def dataset(text):
        manifest = SimpleNamespace(model_dump_json=lambda: text)
        return SimpleNamespace(folder=Path("shards"), manifest=manifest)

    other = []
    agreement.check_same_data([dataset("b")], beside(lambda sent: other.append(sent) or sent))
    agreement.check_same_data([dataset("b")], beside(other[0]))
    with pytest.raises(WholewordError, match=r"shards: rank 1 on .* sees other shards there"):
        agreement.check_same_data([dataset("a")], beside(other[0]))


def test_a_folder_is_whose_ranks_see_it(tmp_path, monkeypatch):
    monkeypatch.setattr("train.engine.place._PATIENCE", 0.3)
    folder, host = tmp_path / "run", socket.gethostname()
    same = find_place(folder, beside(None, ("node2", (0,))), node_local=False)
    assert (same.leads, same.is_part, same.ranks) == (True, False, (0, 1))
    with pytest.raises(WholewordError, match=f"rank 1 on node2 .* what rank 0 on {host} writes"):
        find_place(folder, beside(None, ("node2", ())), node_local=False)
    own = find_place(folder, beside(None, ("node2", (1,))), node_local=True)
    assert (own.leads, own.is_part, own.ranks) == (True, True, (0,))
    with pytest.raises(WholewordError, match="sees files of rank 0, 1, which do not see the same"):
        find_place(folder, beside(None, ("node2", (0, 1))), node_local=True)
    assert list(folder.iterdir()) == []
    later = dataclasses.replace(own, rank=3, ranks=(2, 3), world_size=4)
    assert not later.leads and later.is_part
