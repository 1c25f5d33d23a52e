import json
from pathlib import Path

import pytest
import torch
from torch import nn

from detaux.runtime import batch_norm

PROGRAM = Path(__file__).with_name("rank_norm.py")
SIZES = ("5", "1")  # over two ranks: 2 and 3 images; none and 1
ROWS = ("results", "gradient", "second", "evaluated")


@pytest.fixture(scope="module")
def found(start_ranks_for_module):
    """What rank_norm.py printed, by the number of ranks: for each size, the ranks in order. One rank has torch's layer."""
    printed = {}
    for count in (1, 2):
        processes = start_ranks_for_module(count, PROGRAM, *SIZES)
        outputs = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * count, outputs
        printed[count] = list(zip(*(json.loads(output.splitlines()[-1]) for output in outputs), strict=True))
    return printed


@pytest.mark.parametrize("case", range(len(SIZES)))
@pytest.mark.parametrize("name", ROWS)
def test_ranks_normalise_and_differentiate_their_rows_as_torch_does_the_whole_batch(found, case, name):
    (one,), two = found[1][case], found[2][case]
    rows = [row for rank in two for row in rank["rows"][name]]
    torch.testing.assert_close(torch.tensor(rows), torch.tensor(one["rows"][name]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", range(len(SIZES)))
@pytest.mark.parametrize("name", ["parameters", "state"])
def test_gradients_and_running_statistics_of_every_rank_are_those_of_one(found, case, name):
    (one,) = found[1][case]
    for rank in found[2][case]:
        torch.testing.assert_close(rank[name], one[name], rtol=1e-9, atol=1e-9)


def test_layers_are_replaced_and_keep_parameters_names_and_mode(monkeypatch):
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2)).eval())
    parameters, names = list(network.parameters()), list(network.state_dict())
    batch_norm.share_batch_statistics(network, torch.device("cpu"))
    assert isinstance(network[1][0], nn.BatchNorm2d)  # one rank needs no change
    monkeypatch.setattr(batch_norm, "world_size", lambda: 2)
    batch_norm.share_batch_statistics(network, torch.device("cpu"))
    assert isinstance(network[1][0], batch_norm.SharedBatchNorm)
    assert not network[1][0].training
    assert list(network.state_dict()) == names
    assert all(one is two for one, two in zip(network.parameters(), parameters, strict=True))


def test_half_precision_is_summed_in_float32_and_comes_back():
    values = torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0)) + 3
    ours, theirs = batch_norm.SharedBatchNorm(2), nn.BatchNorm2d(2)
    result = ours(values.bfloat16())
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), theirs(values.bfloat16().float()), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
