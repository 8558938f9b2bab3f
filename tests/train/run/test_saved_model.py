"""Writing a run's models."""

from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from preprocess.errors import WholewordError
from train.run.saved_model import ModelNote, write_model


def test_a_full_disk_as_safetensors_tells_it_is_one_line(tmp_path):
    def no_room(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    model = SimpleNamespace(save_pretrained=no_room, config=SimpleNamespace())
    note = ModelNote(step=1, finished=True, settings={})
    with pytest.raises(WholewordError, match=r"final: cannot be written \(.*No space.*; make room"):
        write_model(tmp_path / "final", model, {}, tmp_path, note)
