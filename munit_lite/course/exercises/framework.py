"""A checker compares your function with an independent reference on awkward inputs and names the bug it recognizes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

Function = Callable[..., Any]
# (relative, absolute): float32 leaves room for the cancellation in inputs far from zero, float64 none for a bug.
TOLERANCE = {torch.float32: (1e-3, 1e-3), torch.float64: (1e-8, 1e-8)}


@dataclass(frozen=True)
class Input:
    """One input of an exercise.

    Args:
        label: what is awkward about it, such as "one pixel".
        arguments: the arguments of the function: tensors, lists of tensors, networks, numbers.
    """

    label: str
    arguments: tuple[Any, ...]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the first floating-point tensor; float32 if there is none."""
        dtypes = [t.dtype for _, t in named_tensors(list(self.arguments)) if t.is_floating_point()]
        return dtypes[0] if dtypes else torch.float32

    @property
    def num_elements(self) -> int:
        """The number of elements of all tensors."""
        return sum(tensor.numel() for _, tensor in named_tensors(list(self.arguments)))


@dataclass(frozen=True)
class Bug:
    """A bug that a checker recognizes.

    Args:
        name: short and unique among all bugs, words joined by hyphens.
        buggy: the function that has the bug; it takes the arguments of the exercise.
        mistake: what the function does, in one clause.
        fix: what is right instead, in one sentence.
        origin: the repository and issue where the bug was found, or "constructed".
    """

    name: str
    buggy: Function
    mistake: str
    fix: str
    origin: str = "constructed"


class Feedback(NamedTuple):
    """What a checker reports.

    Args:
        status: a stub is "not attempted"; an answer with a "known bug" names it in `bug`; an answer that differs in
            another way is "incorrect".
        message: the text for the learner.
        bug: the known bug, if there is one.
    """

    status: Literal["not attempted", "correct", "known bug", "incorrect"]
    message: str
    bug: Bug | None = None


@dataclass
class Exercise:
    """A checker: call it with your function, and it prints its feedback.

    `exercise` makes one from its reference, and `Exercise.bug` adds the bugs that it recognizes.

    Args:
        name: the name of the checker: `exercises.<name>`.
        reference: the right function, written independently of the package; it is called in float64.
        cases: takes a random generator and yields the inputs, awkward ones among them.
        bugs: the bugs that it recognizes.
        compare_gradients: whether to compare the gradients with respect to every floating-point tensor, too.

    Its attribute `last` is the feedback on the function that was checked last, or None.

    Example:
        >>> def double_cases(generator):
        ...     yield Input("two numbers", (torch.randn(2, generator=generator),))
        >>> double = Exercise("double", lambda x: 2 * x, double_cases, bugs=())
        >>> double(lambda x: x + x)
        double: correct on 1 inputs (two numbers)
    """

    name: str
    reference: Function
    cases: Callable[[torch.Generator], Iterable[Input]]
    bugs: Sequence[Bug] = field(default_factory=list)
    compare_gradients: bool = False
    last: Feedback | None = field(default=None, init=False)

    def __call__(self, function: Function, seed: int = 0) -> None:
        """Print the feedback on a function.

        Args:
            function: yours.
            seed: seed of the random inputs.
        """
        self.last = self.check(function, seed)
        print(self.last.message)

    def bug(self, mistake: str, fix: str, met: str = "constructed") -> Callable[[Function], Function]:
        """Return a decorator that adds a function to the bugs which the checker recognizes.

        The bug's name is that of the exercise and of the function, joined by hyphens.

        Args:
            mistake: what the function does, in one clause.
            fix: what is right instead, in one sentence.
            met: the repository and issue where the bug was found.
        """

        def add(buggy: Function) -> Function:
            name = f"{self.name}_{buggy.__name__}".replace("_", "-")
            self.bugs = [*self.bugs, Bug(name, buggy, mistake, fix, met)]
            return buggy

        return add

    def check(self, function: Function, seed: int = 0) -> Feedback:
        """Compare a function with the reference, on the smallest inputs first.

        Args:
            function: the learner's.
            seed: seed of the random inputs.

        Returns:
            The status, the text for the learner, and the known bug if the answer has one.
        """
        cases = sorted(self.cases(torch.Generator().manual_seed(seed)), key=lambda case: case.num_elements)
        if _is_stub(function, cases[0]):
            return Feedback("not attempted", f"{self.name}: not attempted yet")
        expected = [self._run(self.reference, case, torch.float64) for case in cases]
        outcomes = [self._run(function, case) for case in cases]
        differences = [_describe_difference(a, b, c.dtype) for a, b, c in zip(outcomes, expected, cases, strict=True)]
        failed = [(case, text) for case, text in zip(cases, differences, strict=True) if text]
        if not failed:
            labels = ", ".join(dict.fromkeys(case.label for case in cases))
            return Feedback("correct", f"{self.name}: correct on {len(cases)} inputs ({labels})")
        counterexample = self._describe_counterexample(*failed[0])
        for bug in self.bugs:
            buggy = [self._run(bug.buggy, case) for case in cases]
            if not any(_describe_difference(a, b, c.dtype) for a, b, c in zip(outcomes, buggy, cases, strict=True)):
                message = (
                    f"{self.name}: not correct yet. This is a known bug: {bug.mistake}.\n{bug.fix}\n"
                    f"Its entry in ERRATA.md is {bug.name} ({bug.origin}).\n{counterexample}"
                )
                return Feedback("known bug", message, bug)
        return Feedback("incorrect", f"{self.name}: not correct yet, and it is not a known bug.\n{counterexample}")

    def _run(self, function: Function, case: Input, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """Call a function; return by name its values, gradients and arguments afterwards, or the error it raised."""
        arguments = [_copy_argument(argument, dtype, self.compare_gradients) for argument in case.arguments]
        try:
            values = {
                name: value.to(case.dtype) if dtype and value.is_floating_point() else value
                for name, value in named_tensors(function(*arguments), "result", case.dtype)
            }
        except Exception as error:  # a learner's function may raise anything
            return {"error": error}
        inputs = named_tensors(dict(zip(self._argument_names, arguments, strict=False)))
        outcome: dict[str, Any] = {name: value.detach() for name, value in values.items()}
        leaves = [(name, tensor) for name, tensor in inputs if tensor.requires_grad]
        if leaves:
            outcome |= _compute_gradients(values, leaves)
        return outcome | {f"{name} after the call": tensor.detach() for name, tensor in inputs}

    @property
    def _argument_names(self) -> list[str]:
        return list(inspect.signature(self.reference).parameters)

    def _describe_counterexample(self, case: Input, difference: str) -> str:
        arguments = dict(zip(self._argument_names, case.arguments, strict=False))
        width = max(len(name) for name in arguments)
        lines = [f"Smallest input that shows it ({case.label}):"]
        lines += [f"  {name:{width}} = {_format_value(value)}" for name, value in arguments.items()]
        return "\n".join([*lines, difference])


def exercise(
    cases: Callable[[torch.Generator], Iterable[Input]], gradients: bool = False
) -> Callable[[Function], Exercise]:
    """Return a decorator that makes a function the reference of an exercise of its name.

    Args:
        cases: takes a random generator and yields the inputs, awkward ones among them.
        gradients: whether to compare the gradients with respect to every floating-point tensor, too.

    Example:
        >>> def double_cases(generator):
        ...     yield Input("two numbers", (torch.tensor([1.0, -2.0]),))
        >>> @exercise(double_cases)
        ... def double(x):
        ...     return 2 * x
        >>> @double.bug("squares the numbers", fix="Multiply them by 2.")
        ... def square_for_double(x):
        ...     return x * x
        >>> print(double.check(lambda x: x**2).message.splitlines()[1])
        Multiply them by 2.
        >>> double.bugs[0].name
        'double-square-for-double'
    """

    def make(reference: Function) -> Exercise:
        return Exercise(reference.__name__, reference, cases, compare_gradients=gradients)

    return make


def named_tensors(tree: Any, name: str = "", dtype: torch.dtype | None = None) -> list[tuple[str, Tensor]]:
    """List the tensors of nested lists and dicts with their names.

    Args:
        tree: a tensor, a number, or lists, tuples and dicts of such; anything else is skipped.
        name: the name of the tree.
        dtype: the type of the tensors that floating-point numbers become.

    Returns:
        (name, tensor) pairs; a name is a path such as "result[0]['scale']".
    """
    if isinstance(tree, bool | int | float):
        tree = torch.tensor(tree, dtype=dtype if isinstance(tree, float) else None)
    if isinstance(tree, Tensor):
        return [(name, tree)]
    if isinstance(tree, dict):
        items = [(f"{name}[{key!r}]" if name else str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        items = [(f"{name}[{number}]", value) for number, value in enumerate(tree)]
    else:
        items = []
    return [pair for label, value in items for pair in named_tensors(value, label, dtype)]


def _copy_argument(argument: Any, dtype: torch.dtype | None, requires_grad: bool) -> Any:
    if isinstance(argument, Tensor):
        tensor = argument.detach().clone()
        if not tensor.is_floating_point():
            return tensor
        return (tensor.to(dtype) if dtype else tensor).requires_grad_(requires_grad)
    if isinstance(argument, nn.Module):
        module = copy.deepcopy(argument)
        return module.to(dtype) if dtype else module
    if isinstance(argument, list | tuple):
        return type(argument)(_copy_argument(item, dtype, requires_grad) for item in argument)
    if isinstance(argument, dict):
        return {key: _copy_argument(item, dtype, requires_grad) for key, item in argument.items()}
    return argument


def _is_stub(function: Function, case: Input) -> bool:
    try:
        return function(*(_copy_argument(argument, None, False) for argument in case.arguments)) is None
    except NotImplementedError:
        return True
    except Exception:  # it does something, so it is compared with the reference
        return False


def _compute_gradients(values: dict[str, Tensor], leaves: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Differentiate a fixed random combination of all values; a leaf that no value depends on has gradient zero."""
    differentiable = [value for value in values.values() if value.is_floating_point() and value.grad_fn is not None]
    gradients: Sequence[Tensor | None] = [None] * len(leaves)
    if differentiable:
        combination = torch.stack([(value * _random_weights(value)).sum() for value in differentiable]).sum()
        gradients = torch.autograd.grad(combination, [leaf for _, leaf in leaves], allow_unused=True)
    return {
        f"gradient in {name}": torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves, gradients, strict=True)
    }


def _random_weights(value: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(value.numel())
    return torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)


def _describe_difference(outcome: dict[str, Any], expected: dict[str, Any], dtype: torch.dtype) -> str:
    """Say how two outcomes differ; the text is empty if they agree."""
    if "error" in outcome or "error" in expected:
        errors = [o.get("error") for o in (outcome, expected)]
        if type(errors[0]) is type(errors[1]):
            return ""
        return _side_by_side(*(f"{type(error).__name__}: {error}" if error else "no error" for error in errors))
    if outcome.keys() != expected.keys():
        names = (", ".join(name for name in o if name.startswith("result")) for o in (outcome, expected))
        return _side_by_side(*(text or "no tensor or number" for text in names))
    texts = (_describe_tensor_difference(name, outcome[name], expected[name], dtype) for name in expected)
    return next(filter(None, texts), "")


def _describe_tensor_difference(name: str, tensor: Tensor, expected: Tensor, dtype: torch.dtype) -> str:
    if tensor.shape != expected.shape:
        return _side_by_side(tuple(tensor.shape), tuple(expected.shape), f"shape of {name}")
    if name.startswith("result") and tensor.dtype != expected.dtype:
        return _side_by_side(tensor.dtype, expected.dtype, f"dtype of {name}")
    relative, absolute = TOLERANCE[dtype]
    a, b = tensor.double(), expected.double()
    differs = ~torch.isclose(a, b, rtol=relative, atol=absolute, equal_nan=True)
    if not differs.any():
        return ""
    if a.numel() <= 12:
        return _side_by_side(_format_value(tensor), _format_value(expected), name)
    index = tuple(differs.nonzero()[0].tolist())
    title = f"{name}, element {list(index)} ({int(differs.sum())} of {differs.numel()} differ)"
    return _side_by_side(f"{a[index].item():.4g}", f"{b[index].item():.4g}", title)


def _side_by_side(yours: object, expected: object, title: str = "") -> str:
    return f"  {title}\n" * bool(title) + f"  yours    : {yours}\n  expected : {expected}"


def _format_value(value: Any) -> str:
    """Format a value in one line."""
    if isinstance(value, Tensor):
        if value.numel() > 12:
            return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
        return _format_numbers(value.tolist())
    if isinstance(value, list | tuple):
        return f"[{', '.join(_format_value(item) for item in value)}]"
    if isinstance(value, nn.Module):
        return str(value).split("\n")[0].rstrip("(")
    return getattr(value, "__name__", None) or repr(value)


def _format_numbers(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_format_numbers(item) for item in value)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
