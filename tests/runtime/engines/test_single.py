import pytest
import torch

from detaux.runtime.engines.single import SingleEngine


def build(layout=torch.contiguous_format, micro_batches=1, clip=0.0):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.Flatten(), torch.nn.Linear(12, 1))
    model.to(memory_format=layout)
    engine = SingleEngine()
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, fused=True)

    def lose(model, images):
        return model(images).square().mean(), {}

    return engine, engine.wrap(model, lose, optimizer, clip=clip, micro_batches=micro_batches)


def draw(step):
    return torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(step))


def take(engine, compute, steps):
    norms = []
    for step in steps:
        for part in draw(step).chunk(engine.micro_batches):
            loss, _ = compute(part)
            engine.backward(loss)
        norms.append(engine.step().item())
    return norms


def assert_same(one, two, tolerance=0.0):
    for name, value in one.model.items():
        torch.testing.assert_close(two.model[name], value, rtol=tolerance, atol=tolerance)
    for name, moments in one.optimizer.items():
        for key, value in moments.items():
            torch.testing.assert_close(two.optimizer[name][key], value, rtol=tolerance, atol=tolerance)


def test_state_goes_on_exactly_where_it_was_taken():
    whole, compute = build()
    take(whole, compute, range(6))
    stopped, compute = build()
    take(stopped, compute, range(3))
    other, compute = build()
    other.load(stopped.state())
    take(other, compute, range(3, 6))
    assert_same(whole.state(), other.state())


def test_state_of_one_memory_layout_goes_on_in_another():
    """A fused optimiser walks weights and moments side by side in memory."""
    whole, compute = build()
    take(whole, compute, range(6))
    stopped, compute = build()
    take(stopped, compute, range(3))
    other, compute = build(torch.channels_last)
    other.load(stopped.state())
    take(other, compute, range(3, 6))
    assert_same(whole.state(), other.state(), tolerance=1e-5)


def test_micro_batches_of_a_mean_add_up_to_the_whole_batch():
    whole, compute = build()
    norms = take(whole, compute, range(4))
    parts, compute = build(micro_batches=2)
    assert take(parts, compute, range(4)) == pytest.approx(norms, rel=1e-5)
    assert_same(whole.state(), parts.state(), tolerance=1e-5)


def test_norm_is_that_before_the_clip_and_the_step_that_after():
    free, compute = build()
    (norm,) = take(free, compute, range(1))
    clipped, compute = build(clip=norm / 4)
    assert take(clipped, compute, range(1)) == [norm]
    for name, moments in free.state().optimizer.items():
        expected = moments["exp_avg"] / 4
        torch.testing.assert_close(clipped.state().optimizer[name]["exp_avg"], expected, rtol=1e-4, atol=1e-8)


def test_state_before_the_first_step_has_no_moments():
    engine, _ = build()
    assert engine.state().optimizer == {}
