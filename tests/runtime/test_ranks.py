from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from detaux.errors import UserError
from detaux.runtime import agreement, collectives, ranks


def test_each_rank_knows_its_place_and_may_be_alone(calls):
    assert calls["rank"] == [[0, 2, True], [1, 2, False]]
    assert calls["alone"] == [[0, 1, [0]], [0, 1, [1]]]


def test_lone_process_needs_no_launcher(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    values = torch.tensor([1.0])
    with ranks.join_ranks(torch.device("cpu")):
        assert not torch.distributed.is_initialized()
        assert ranks.read_place() == (0, 0, 1)
        assert collectives.global_mean(values) is values
        assert collectives.gather_rows(values) is values
        assert agreement.run_first(lambda: 3) == 3
        assert agreement.run_each(lambda: 3) == 3
        assert agreement.Vote().cast(5) == 5


def test_lone_process_forms_a_group_where_its_engine_needs_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks.join_ranks(torch.device("cpu"), needs_group=True):
        assert torch.distributed.is_initialized()
        assert ranks.world_size() == 1
    assert not torch.distributed.is_initialized()


def test_function_compiled_whole_follows_whether_its_thread_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    torch._dynamo.reset()
    call = torch.compile(lambda values: values + ranks.is_joined(), fullgraph=True, backend="eager")
    values = torch.zeros(1)
    with ranks.join_ranks(torch.device("cpu"), needs_group=True):
        found = [call(values).item()]
        with ranks.alone():
            found.append(call(values).item())
            with ThreadPoolExecutor(1) as other:
                found.append(other.submit(call, values).result().item())
        found.append(call(values).item())
    assert found == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"RANK": "0"}, "WORLD_SIZE=2 is set and LOCAL_RANK is not"),
        ({"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "x"}, "MASTER_PORT is not"),
        ({"RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "RANK=2 is not one of WORLD_SIZE=2"),
        ({"RANK": "a", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "must be whole numbers"),
    ],
)
def test_incomplete_launch_is_refused_in_one_sentence(monkeypatch, variables, sentence):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=sentence):
        ranks.read_place()
