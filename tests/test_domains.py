"""Work in two threads gives what it gives in one, gradients, precision and errors included."""

import threading

import pytest
import torch

from munit_lite.domains import at_once, both, two_workers

pytestmark = pytest.mark.numerical


@pytest.fixture(scope="module")
def workers():
    return two_workers(2)


def work(domain, a, b):
    return a * b * domain, (a + b).square(), b.detach()


def tensors(*shape):
    return [torch.randn(shape, generator=torch.Generator().manual_seed(k)).requires_grad_(k != 3) for k in range(4)]


def slopes(weighed, given):
    """Gradients of a sum in which one result counts twice and one not at all."""
    (product_1, square_1, _), (product_2, _, _) = both(work, given[:2], given[2:])
    (weighed(product_1) + product_2.sum() + 2 * square_1.sum()).backward()
    return [tensor.grad for tensor in given]


def test_results_and_gradients_are_those_of_one_thread(workers):
    expected = slopes(torch.Tensor.sum, tensors(2, 3))
    with at_once(workers):
        found = slopes(torch.Tensor.sum, tensors(2, 3))
    assert expected[3] is found[3] is None
    for one, other in zip(expected[:3], found[:3], strict=True):
        assert torch.equal(one, other)


def test_weights_that_the_work_brings_along_get_their_gradients(workers):
    weight = torch.ones(3, requires_grad=True)
    with at_once(workers):
        (of_1,), (of_2,) = both(lambda domain, x: ((weight * x).sum(),), [torch.ones(3)], [torch.ones(3) * 10])
        (of_1 + 2 * of_2).backward()
    assert weight.grad.tolist() == [21, 21, 21]


def test_each_domain_has_a_thread_with_its_share_of_the_cores(workers):
    seen = {}
    together = threading.Barrier(2, timeout=30)

    def note(domain):
        together.wait()  # both are at work at the same time
        seen[domain] = threading.current_thread(), torch.get_num_threads()
        return (torch.zeros(1),)

    before = torch.get_num_threads()
    with at_once(workers):
        assert torch.get_num_threads() == 1
        both(note, [], [])
    assert torch.get_num_threads() == before
    assert seen[1][0] is not seen[2][0]
    assert [threads for _, threads in seen.values()] == [1, 1]


def test_gradient_mode_and_precision_are_the_caller_s(workers):
    def product(domain, a):
        return (a @ a,)

    a = torch.ones(2, 2, requires_grad=True)
    with at_once(workers), torch.autocast("cpu", torch.bfloat16):
        assert both(product, [a], [a])[0][0].dtype == torch.bfloat16
    with at_once(workers), torch.no_grad():
        assert not both(product, [a], [a])[1][0].requires_grad


def test_an_error_in_a_thread_reaches_the_caller(workers):
    def fail(domain, a):
        if domain == 2:
            raise ValueError("domain 2 fails")
        return (a,)

    a = torch.ones(1, requires_grad=True)
    with at_once(workers), pytest.raises(ValueError, match="domain 2 fails"):
        both(fail, [a], [a])
