"""Packed + masked-only training against the plain padded forward."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertForPreTraining

from tests.train.model_zoo import (
    CONFIGS,
    CPU,
    DEBERTA,
    make_model,
    make_pack,
    pad,
    padded_batch,
)
from train.data.collate import IGNORE_INDEX
from train.model.inputs import mlm_labels, model_inputs, pair_labels
from train.model.loss import masked_lm_loss, mlm_logits
from train.model.packed import attention_dropout, can_pack, prepare_packed, prepare_padded

LENGTHS = [13, 20, 1, 3, 30]


def pad_id(model):
    return model.config.pad_token_id or 0


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def plain_loss(model, padded):
    """What the stock model does: every position's logits, the loss over the masked ones."""
    logits = model(input_ids=padded.input_ids, attention_mask=padded.attention_mask).logits
    return cross_entropy(logits.flatten(0, 1), padded.labels.flatten(), reduction="sum")


def our_loss(model, batch, static=False):
    logits = mlm_logits(model(**model_inputs(batch, model, CPU, static=static)))
    return masked_lm_loss(logits, mlm_labels(batch, CPU, static=static))[0]


def assert_same_training(model, expected, batch, static=False):
    loss = our_loss(model, batch, static)
    torch.testing.assert_close(loss, expected[0], rtol=1e-5, atol=1e-5)
    for name, gradient in gradients(model, loss).items():
        torch.testing.assert_close(gradient, expected[1][name], rtol=1e-5, atol=1e-5, msg=name)


def plain_training(model, batch):
    loss = plain_loss(model, pad(batch, pad_id(model)))
    return loss.detach(), gradients(model, loss)


# ----------------------------------------------------------------------- parity and probe


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_masked_only_equals_plain(name):
    model = make_model(CONFIGS[name])
    batch = make_pack(LENGTHS, size=80, model=model)
    expected = plain_training(model, batch)
    assert can_pack(model)
    prepare_packed(model)
    assert_same_training(model, expected, batch)
    assert_same_training(model, expected, batch, static=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_padded_masked_only_equals_plain(name):
    model = make_model(CONFIGS[name])
    batch = make_pack(LENGTHS, model=model)
    expected = plain_training(model, batch)
    prepare_padded(model)
    assert_same_training(model, expected, padded_batch(batch, pad_id(model)))


def test_deberta_cannot_be_packed_and_trains_padded():
    model = make_model(DEBERTA)
    batch = make_pack(LENGTHS, model=model)
    expected = plain_training(model, batch)
    assert not can_pack(model)
    prepare_padded(model)
    assert_same_training(model, expected, padded_batch(batch, pad_id(model)))


def test_probe_leaves_the_model_as_it_was():
    model = make_model(CONFIGS["bert"])
    before = copy.deepcopy(model.config.to_dict()), model.config._attn_implementation
    state = torch.get_rng_state()
    assert can_pack(model)
    assert (model.config.to_dict(), model.config._attn_implementation) == before
    assert model.training
    assert not model._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_probe_finds_positions_that_are_ignored():
    """A model whose positions run on from row to row gives a second row another output."""
    model = make_model(CONFIGS["bert"])
    embeddings = model.bert.embeddings
    stock = embeddings.forward
    embeddings.forward = lambda **kwargs: stock(
        **kwargs | {"position_ids": torch.arange(20, 20 + kwargs["input_ids"].shape[1])[None]}
        if kwargs["position_ids"] is not None
        else kwargs
    )
    assert not can_pack(model)


def test_preparing_twice_is_preparing_once():
    model = make_model(CONFIGS["bert"])
    batch = make_pack(LENGTHS, model=model)
    prepare_packed(model)
    prepare_packed(model)
    assert len(model._forward_pre_hooks) == len(model.base_model._forward_hooks) == 1
    assert our_loss(model, batch).isfinite()


def test_other_rows_do_not_matter():
    model = make_model(CONFIGS["bert"])
    prepare_packed(model)
    one, other = make_pack([20, 9]), make_pack([20, 9])
    other.input_ids[0, 20:] = 5
    of_first = int((one.positions < 20).sum())
    first, same = (mlm_logits(model(**model_inputs(b, model, CPU))) for b in (one, other))
    assert of_first and torch.equal(first[:of_first], same[:of_first])
    assert not torch.equal(first[of_first:], same[of_first:])


# ------------------------------------------------------------------------ batches and loss


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert"])
def test_empty_pack_gives_every_parameter_a_zero_gradient(name, static):
    model = make_model(CONFIGS[name])
    batch = make_pack([], size=40, model=model)
    prepare_packed(model)
    loss = our_loss(model, batch, static)
    assert loss == 0
    assert all(gradient.eq(0).all() for gradient in gradients(model, loss).values())


def test_empty_padded_batch_gives_every_parameter_a_zero_gradient():
    model = make_model(DEBERTA)
    prepare_padded(model)
    batch = padded_batch(make_pack([4]), 0)
    batch.rows = batch.tokens = 0
    batch.positions = batch.labels = np.zeros(0, np.int64)
    batch.attention_mask[:] = 0
    loss = our_loss(model, batch)
    assert loss == 0
    assert all(gradient.eq(0).all() for gradient in gradients(model, loss).values())


def test_inputs_cut_the_tail_on_a_cpu():
    model = make_model(CONFIGS["roberta"])
    inputs = model_inputs(make_pack([4, 3], size=64, model=model), model, CPU)
    assert inputs["input_ids"].shape == (1, 7)
    assert inputs["cu_seqlens"].tolist() == [0, 4, 7]
    assert inputs["position_ids"].tolist() == [[2, 3, 4, 5, 2, 3, 4]]


def test_static_inputs_have_few_shapes_and_leave_no_token_outside_a_row():
    model = make_model(CONFIGS["bert"])
    shapes = set()
    for lengths in ([4, 3], [300, 2, 2], [9] * 50, []):
        inputs = model_inputs(make_pack(lengths, size=600), model, CPU, static=True)
        steps = inputs["cu_seqlens"].diff()
        assert inputs["cu_seqlens"][0] == 0 and inputs["cu_seqlens"][-1] == 600
        assert (steps >= 0).all() and steps.max() <= inputs["max_seqlen"]
        shapes.add(tuple(inputs[key].shape for key in ("input_ids", "cu_seqlens")))
    assert shapes == {((1, 600), (64,))}


def test_static_labels_keep_the_real_ones_first():
    batch = make_pack(LENGTHS)
    labels = mlm_labels(batch, CPU, static=True)
    count = len(batch.labels)
    assert len(labels) == 64
    assert labels[:count].tolist() == batch.labels.tolist()
    assert (labels[count:] == IGNORE_INDEX).all()


def test_compiled_model_trains_the_same():
    model = make_model(CONFIGS["bert"])
    batches = [make_pack(lengths, 80, seed=len(lengths)) for lengths in (LENGTHS, [9, 30], [])]
    expected = [plain_training(model, batch) if batch.rows else None for batch in batches]
    prepare_packed(model)
    model.compile(backend="eager")
    for batch, training in zip(batches, expected, strict=True):
        if training is None:
            assert our_loss(model, batch, static=True) == 0
        else:
            assert_same_training(model, training, batch, static=True)


def test_loss_is_an_fp32_sum():
    logits = torch.randn(4, 9).bfloat16()
    labels = torch.tensor([3, IGNORE_INDEX, 0, 8])
    loss, _ = masked_lm_loss(logits, labels)
    rows = torch.log_softmax(logits.float(), -1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, -(rows[0, 3] + rows[2, 0] + rows[3, 8]))
    assert masked_lm_loss(logits[:0], labels[:0])[0] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradient_are_those_of_cross_entropy(dtype):
    torch.manual_seed(0)
    logits = (5 * torch.randn(50, 33)).to(dtype).requires_grad_()
    labels = torch.randint(0, 33, (50,))
    labels[::7] = IGNORE_INDEX
    expected = torch.nn.functional.cross_entropy(
        logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="sum"
    )
    loss, _ = masked_lm_loss(logits, labels)
    torch.testing.assert_close(loss, expected)
    (wanted,) = torch.autograd.grad(expected * 0.37, logits)
    (found,) = torch.autograd.grad(loss * 0.37, logits)
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_correct_is_the_first_of_the_highest_logits(dtype):
    torch.manual_seed(0)
    logits = torch.randint(-3, 3, (400, 40)).to(dtype)  # many are equal
    logits[100:200] *= 20  # nearly all of the share
    logits[200:300] = 0
    labels = torch.randint(0, 40, (400,))
    labels[::3] = logits.argmax(-1)[::3]
    labels[::7] = IGNORE_INDEX
    _, correct = masked_lm_loss(logits, labels)
    wanted = logits.argmax(-1) == labels
    assert wanted.sum() > 100
    assert correct.tolist() == wanted.tolist()


def test_attention_dropout_is_read_and_not_applied():
    config = copy.deepcopy(CONFIGS["bert"])
    config.attention_probs_dropout_prob = 0.5
    model = make_model(config)
    batch = make_pack(LENGTHS, model=model)
    assert attention_dropout(model) == 0.5
    assert attention_dropout(make_model(CONFIGS["distilbert"])) == 0.0
    prepare_packed(model)
    assert our_loss(model, batch) == our_loss(model, batch)


# --------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize("packed", [True, False])
def test_pair_head_reads_the_first_token_of_each_row(packed):
    torch.manual_seed(0)
    model = BertForPreTraining(copy.deepcopy(CONFIGS["bert"]))
    batch = make_pack(LENGTHS, size=70)
    padded = pad(batch, 0)
    expected = model(input_ids=padded.input_ids, attention_mask=padded.attention_mask)
    labels = np.array([0, 1, IGNORE_INDEX, 1, 0])
    if packed:
        prepare_packed(model)
    else:
        prepare_padded(model)
        batch = padded_batch(batch, 0)
    batch.pair_labels = labels
    output = model(**model_inputs(batch, model, CPU))
    torch.testing.assert_close(
        output.seq_relationship_logits, expected.seq_relationship_logits, rtol=1e-5, atol=1e-5
    )
    masked = expected.prediction_logits.flatten(0, 1)[padded.labels.flatten() != IGNORE_INDEX]
    torch.testing.assert_close(mlm_logits(output), masked, rtol=1e-5, atol=1e-5)
    assert pair_labels(batch, CPU).tolist() == labels.tolist()
