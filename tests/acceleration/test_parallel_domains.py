"""Two threads compute what one does, gradients, precision and errors included."""

import threading

import pytest
import torch

from munit_lite.acceleration.parallel_domains import domain_threads, map_domains, reserve_cores


@pytest.fixture(scope="module")
def pool():
    return domain_threads(2)


def function(domain, a, b):
    return a * b * domain, (a + b).square(), b.detach()


def inputs(*shape):
    return [torch.randn(shape, generator=torch.Generator().manual_seed(k)).requires_grad_(k != 3) for k in range(4)]


def gradients(pool, given):
    """Gradients of a sum in which one output counts twice and one not at all."""
    (product_1, square_1, _), (product_2, _, _) = map_domains(pool, function, given[:2], given[2:])
    (product_1.sum() + product_2.sum() + 2 * square_1.sum()).backward()
    return [tensor.grad for tensor in given]


def test_outputs_and_gradients_are_those_of_one_thread(pool):
    expected, found = gradients(None, inputs(2, 3)), gradients(pool, inputs(2, 3))
    for one, other in zip(
        *(map_domains(p, function, inputs(2, 3)[:2], inputs(2, 3)[2:]) for p in (None, pool)), strict=True
    ):
        assert all(map(torch.equal, one, other))
    assert expected[3] is found[3] is None
    for one, other in zip(expected[:3], found[:3], strict=True):
        assert torch.equal(one, other)


def test_weights_that_the_function_brings_along_get_their_gradients(pool):
    weight = torch.ones(3, requires_grad=True)
    (of_1,), (of_2,) = map_domains(pool, lambda domain, x: ((weight * x).sum(),), [torch.ones(3)], [torch.ones(3) * 10])
    (of_1 + 2 * of_2).backward()
    assert weight.grad.tolist() == [21, 21, 21]


def test_each_domain_has_a_thread_with_its_share_of_the_cores(pool):
    seen = {}
    together = threading.Barrier(2, timeout=30)

    def note(domain):
        together.wait()  # both are at work at the same time
        seen[domain] = threading.current_thread(), torch.get_num_threads()
        return (torch.zeros(1),)

    map_domains(pool, note, [], [])
    assert seen[1][0] is not seen[2][0]
    assert [threads for _, threads in seen.values()] == [1, 1]


def test_this_thread_leaves_the_cores_to_the_pool_and_takes_them_back(pool):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with reserve_cores(None):
            assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), reserve_cores(pool):
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_gradient_mode_and_precision_are_those_of_the_caller(pool):
    def product(domain, a):
        return (a @ a,)

    a = torch.ones(2, 2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert map_domains(pool, product, [a], [a])[0][0].dtype == torch.bfloat16
    with torch.no_grad():
        assert not map_domains(pool, product, [a], [a])[1][0].requires_grad


def test_an_error_in_a_thread_reaches_the_caller(pool):
    def fail(domain, a):
        if domain == 2:
            raise ValueError("domain 2 fails")
        return (a,)

    a = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="domain 2 fails"):
        map_domains(pool, fail, [a], [a])
