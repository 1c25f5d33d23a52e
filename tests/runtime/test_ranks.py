import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from detaux.errors import UserError
from detaux.runtime import ranks

PROGRAM = Path(__file__).with_name("rank_calls.py")


@pytest.fixture(scope="module")
def calls(start_ranks_for_module):
    """What each of two ranks printed."""
    processes = start_ranks_for_module(2, PROGRAM)
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def get(calls, name):
    return [found[name] for found in calls]


def test_each_rank_knows_its_place_and_may_be_alone(calls):
    assert get(calls, "rank") == [[0, 2, True], [1, 2, False]]
    assert get(calls, "alone") == [[0, 1, [0]], [0, 1, [1]]]


def test_mean_and_its_gradient_are_those_of_all_ranks(calls):
    """Rank r has (1, 2) (r + 1) and weighs its result by (1, 2) (r + 1): each weight counts with the mean over ranks."""
    assert get(calls, "mean") == [{"value": [1.5, 3.0], "gradient": [1.5, 3.0]}] * 2


def test_gathered_rows_send_each_rank_the_gradient_of_its_own(calls):
    """Weights 1, 2, 3, 4 on rank 0 and twice these on rank 1; the gradients of the ranks are averaged afterwards."""
    assert [found["value"] for found in get(calls, "gather")] == [[[1.0, 2.0], [2.0, 4.0]]] * 2
    assert [found["gradient"] for found in get(calls, "gather")] == [[[3.0, 6.0]], [[9.0, 12.0]]]


def test_objects_reach_every_rank(calls):
    assert get(calls, "shared") == [{"from": 0}] * 2
    assert get(calls, "gathered") == [[[0], [1]]] * 2


def test_parts_of_all_ranks_are_the_whole_on_the_first(calls):
    assert get(calls, "parts") == [[[0, 0], [0, 2], [0, 2]], [[0, 1], [2, 4], [2, 5]]]
    assert get(calls, "collected") == [[[0], [0, 1, 2, 3], [0, 1, 2, 3, 4]], [[0], [2, 3], [2, 3, 4]]]


def test_first_rank_acts_alone_for_all_and_its_error_is_told_once(calls):
    assert get(calls, "first") == [[0, 1]] * 2
    assert get(calls, "first fails") == [["nothing here.", 3, False], ["nothing here.", 3, True]]


def test_all_ranks_act_and_the_error_of_one_is_raised_by_all_and_told_once(calls):
    assert get(calls, "each") == [0, 1]
    assert get(calls, "each fails") == [["nothing here.", 3, True], ["nothing here.", 3, False]]


def test_meter_reads_means_over_ranks_of_those_that_have_the_part(calls):
    assert get(calls, "means") == [{"total": 1.5, "shares": [0.5, 4.0], "only here": 5.0}] * 2


def test_loss_that_is_not_finite_on_one_rank_is_known_to_all(calls):
    assert get(calls, "not finite") == [["distance"]] * 2


def test_votes_are_counted_one_call_later_on_every_rank(calls):
    assert get(calls, "votes") == [[0, 0, 7, 0]] * 2


def test_signal_to_one_rank_stops_all_after_the_same_step(calls):
    assert get(calls, "signal") == [[[5], 138, False], [[5], 138, True]]


def test_signal_in_the_last_step_ends_the_loop_on_all_ranks(calls):
    assert get(calls, "late signal") == [[[4], 138, False], [[4], 138, True]]


def test_lone_process_needs_no_launcher(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    values = torch.tensor([1.0])
    with ranks.join_ranks(torch.device("cpu")):
        assert not torch.distributed.is_initialized()
        assert ranks.read_place() == (0, 0, 1)
        assert ranks.global_mean(values) is values
        assert ranks.gather_rows(values) is values
        assert ranks.run_first(lambda: 3) == 3
        assert ranks.run_each(lambda: 3) == 3
        assert ranks.Vote().cast(5) == 5


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


def test_batch_normalisation_over_ranks_is_refused_on_cpus(monkeypatch):
    monkeypatch.setattr(ranks, "world_size", lambda: 2)
    ranks.share_batch_statistics(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)), torch.device("cpu"))
    with pytest.raises(UserError, match="normalises over its batch.*2 ranks on CPUs"):
        ranks.share_batch_statistics(torch.nn.Sequential(torch.nn.BatchNorm2d(1)), torch.device("cpu"))
