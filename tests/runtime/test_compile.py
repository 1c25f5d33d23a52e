import torch

from detaux.runtime.compile import compile_or_fall_back


def test_number_that_changes_from_call_to_call_is_compiled_for_at_most_twice():
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    call = compile_or_fall_back(lambda values, factor: (values * factor).sum(), "test", backend=count)
    for factor in (2.0, 3.0, 4.0, 5.0):
        torch.testing.assert_close(call(torch.ones(3), factor), torch.tensor(3 * factor))
    assert 1 <= len(graphs) <= 2


def test_function_that_cannot_be_compiled_runs_plainly_and_says_so_once(capsys):
    def branch(values):
        return values.sum() if values.sum().item() > 0 else None

    call = compile_or_fall_back(branch, "test", backend="eager")
    for _ in range(2):
        assert call(torch.ones(3)) == 3
    assert capsys.readouterr().out.count("test: torch.compile failed, so plain PyTorch is used") == 1
