"""The GPU's variable-length attention against attention row by row."""

import pytest
import torch

from tests.gpu.device import DEVICE, why_no_packs
from train.model.attention import _row_by_row, packed_attention

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
SLACK = 1e-3  # two kernels of one precision differ by about this
HEADS = 4
LENGTHS = {
    "one": [5],
    "ones": [1, 1, 1],
    "empty rows": [4, 0, 9, 2, 7, 0],
    "long": [130, 512, 3, 257],
}


@pytest.fixture(params=DTYPES)
def dtype(request):
    if reason := why_no_packs(DTYPES[request.param]):
        pytest.skip(reason)
    return DTYPES[request.param]


def states_of(tokens, head_dim):
    generator = torch.Generator().manual_seed(0)
    shape = (4, 1, HEADS, tokens, head_dim)
    return torch.randn(shape, generator=generator).to(DEVICE).unbind()


def results(attend, states, dtype):
    """The output and the gradients of query, key and value, in fp32."""
    *inputs, upstream = (s.to(dtype).detach() for s in states)
    inputs = [s.requires_grad_() for s in inputs]
    output = attend(*inputs)
    gradients = torch.autograd.grad(output, inputs, upstream.transpose(1, 2))
    return [tensor.float() for tensor in (output.detach(), *gradients)]


def distance(some, exact):
    """Relative; what is 0 (queries that see one key have no gradient) need only be small."""
    size = exact.numel() ** 0.5
    if exact.norm() < 1e-3 * size:
        assert some.norm() < 0.1 * size
        return 0.0
    return float((some - exact).norm() / exact.norm())


@pytest.mark.parametrize("head_dim", [8, 64, 128])
@pytest.mark.parametrize("window", [None, 1, 5, 65])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_kernel_is_as_exact_as_rows_alone(lengths, window, head_dim, dtype):
    """Forward and backward: at most twice as far from fp32 as row by row in the same precision."""
    states = states_of(sum(lengths), head_dim)
    boundaries = torch.tensor([0, *lengths], device=DEVICE).cumsum(0).int()

    def packed(query, key, value):
        keywords = {"cu_seqlens": boundaries, "max_seqlen": max(lengths)}
        keywords |= {"scaling": 0.2, "sliding_window": window}
        return packed_attention(torch.nn.Module(), query, key, value, None, **keywords)[0]

    def row_by_row(query, key, value):
        return _row_by_row(query, key, value, boundaries, 0.2, window)

    exact = results(row_by_row, states, torch.float32)
    rows = results(row_by_row, states, dtype)
    for got, row, want in zip(results(packed, states, dtype), rows, exact, strict=True):
        assert distance(got, want) <= 2 * distance(row, want) + SLACK


def test_memory_outside_of_rows_is_not_read(dtype):
    """A later row changes nothing in an earlier one."""
    query, key, value, _ = (s.to(dtype) for s in states_of(40, 64))
    boundaries = torch.tensor([0, 15, 40], dtype=torch.int32, device=DEVICE)

    def first_row(key, value):
        keywords = {"cu_seqlens": boundaries, "max_seqlen": 25}
        return packed_attention(torch.nn.Module(), query, key, value, None, **keywords)[0][:, :15]

    before = first_row(key, value)
    key[:, :, 15:], value[:, :, 15:] = 7, float("nan")
    assert torch.equal(first_row(key, value), before)
