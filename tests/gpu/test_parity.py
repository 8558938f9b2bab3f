"""Packed attention and the masked-only head on a GPU, in every architecture of the tests.

Against fp32, loss and gradients may be off at most twice as far as those of the stock padded model
in the same precision.
"""

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.gpu.device import DEVICE, why_no_packs
from tests.train.model_zoo import CONFIGS, DEBERTA, make_model, make_pack, pad, padded_batch
from train.model.inputs import mlm_labels, model_inputs
from train.model.loss import masked_lm_loss, mlm_logits
from train.model.packed import prepare_packed, prepare_padded, why_padded

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
LENGTHS = [13, 20, 1, 3, 30, 17, 50]
SLACK = 1e-3  # two runs of one model in low precision differ by about this


def train_once(model, loss):
    """A loss and its gradients end to end, in fp32."""
    loss.backward()
    flat = [p.grad.float().flatten() for p in model.parameters() if p.grad is not None]
    return float(loss.detach()), torch.cat(flat)


def stock(config, dtype):
    """Train the stock model on padded rows, with logits everywhere."""
    model = make_model(config).to(DEVICE, dtype)
    rows = pad(make_pack(LENGTHS), model.config.pad_token_id or 0)
    ids, mask = rows.input_ids.to(DEVICE), rows.attention_mask.to(DEVICE)
    logits = model(input_ids=ids, attention_mask=mask).logits.float().flatten(0, 1)
    labels = rows.labels.to(DEVICE).flatten()
    return train_once(model, cross_entropy(logits, labels, reduction="sum"))


def ours(config, dtype, static, packed=True):
    """Train the same model on a pack (or padded rows), with logits at masked positions."""
    model = make_model(config).to(DEVICE, dtype)
    (prepare_packed if packed else prepare_padded)(model)
    batch = make_pack(LENGTHS, size=160, model=model)
    if not packed:
        batch = padded_batch(batch, model.config.pad_token_id or 0)
    logits = mlm_logits(model(**model_inputs(batch, model, DEVICE, static=static)))
    return train_once(model, masked_lm_loss(logits, mlm_labels(batch, DEVICE, static=static))[0])


def distance(one, other):
    """The larger of the relative differences of loss and gradients."""
    loss = abs(one[0] - other[0]) / abs(other[0])
    return max(loss, float((one[1] - other[1]).norm() / other[1].norm()))


@pytest.mark.parametrize("static", [False, True], ids=["", "static"])
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_packs_are_as_exact_as_padded_rows(name, precision, static):
    dtype = DTYPES[precision]
    if reason := why_no_packs(dtype):
        pytest.skip(reason)
    exact = stock(CONFIGS[name], torch.float32)
    allowed = 2 * distance(stock(CONFIGS[name], dtype), exact) + SLACK
    assert distance(ours(CONFIGS[name], dtype, static), exact) <= allowed


@pytest.mark.parametrize("config", [CONFIGS["bert"], DEBERTA], ids=["bert", "deberta"])
def test_padded_batches_equal_stock_in_fp32(config):
    exact = stock(config, torch.float32)
    assert distance(ours(config, torch.float32, static=False, packed=False), exact) < 1e-4


def test_packs_are_chosen_where_there_is_a_kernel():
    model = make_model(CONFIGS["bert"])
    assert why_padded(model, "cuda", torch.float32, (9, 0)) is not None
    assert why_padded(model, "cuda", torch.float16, (7, 5)) is not None
    assert why_padded(make_model(DEBERTA), "cpu", torch.float32, (0, 0)) is not None
    if not why_no_packs(torch.float16):
        assert why_padded(model, DEVICE.type, torch.float16, (9, 0)) is None
