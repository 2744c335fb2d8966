"""A checker compares your function with an independent one on awkward inputs, and names the bug it recognizes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

Function = Callable[..., Any]
# (relative, absolute): float32 leaves room for the cancellation in inputs far from zero, float64 none for a bug.
TOLERANCE = {torch.float32: (1e-3, 1e-3), torch.float64: (1e-8, 1e-8)}


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        label: what is awkward about it, such as "one pixel".
        arguments: of the function: tensors, lists of tensors, networks, numbers.
    """

    label: str
    arguments: tuple[Any, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Of the first floating-point tensor."""
        kinds = [t.dtype for _, t in tensors(list(self.arguments)) if t.is_floating_point()]
        return kinds[0] if kinds else torch.float32

    @property
    def elements(self) -> int:
        return sum(tensor.numel() for _, tensor in tensors(list(self.arguments)))


@dataclass(frozen=True)
class Bug:
    """An exhibit of the museum.

    Args:
        name: short and unique in the whole museum, words joined by hyphens.
        broken: the function that holds it, with the arguments of the exercise.
        wrong: what it does, one clause.
        right: what is right instead, one sentence.
        origin: repository and issue where it was met, or "constructed".
    """

    name: str
    broken: Function
    wrong: str
    right: str
    origin: str = "constructed"


class Verdict(NamedTuple):
    """What a checker says.

    Args:
        status: a stub is "untouched"; a "known bug" is in `bug`; "wrong" is an answer that no bug explains.
        text: the same in words.
    """

    status: Literal["untouched", "correct", "known bug", "wrong"]
    text: str
    bug: Bug | None = None


@dataclass(frozen=True)
class Exercise:
    """A checker: call it with your function.

    Args:
        name: of the checker: `checks.<name>`.
        oracle: the right function, written independently of the package; gets float64 arguments.
        cases: makes the inputs from a random generator.
        bugs: those it recognizes.
        gradients: also compare the gradients in every floating-point tensor.
    """

    name: str
    oracle: Function
    cases: Callable[[torch.Generator], Iterable[Case]]
    bugs: tuple[Bug, ...]
    gradients: bool = False

    def __call__(self, function: Function, seed: int = 0) -> None:
        """Print the verdict on a function.

        Args:
            function: yours.
            seed: of the random inputs.
        """
        print(self.verdict(function, seed).text)

    def verdict(self, function: Function, seed: int = 0) -> Verdict:
        """Judge a function, on the smallest inputs first."""
        cases = sorted(self.cases(torch.Generator().manual_seed(seed)), key=lambda case: case.elements)
        if _is_stub(function, cases[0]):
            return Verdict("untouched", f"{self.name}: not attempted yet")
        expected = [self._outcome(self.oracle, case, torch.float64) for case in cases]
        yours = [self._outcome(function, case) for case in cases]
        differences = [_difference(a, b, case.dtype) for a, b, case in zip(yours, expected, cases, strict=True)]
        shown = next(((case, found) for case, found in zip(cases, differences, strict=True) if found), None)
        if shown is None:
            labels = ", ".join(dict.fromkeys(case.label for case in cases))
            return Verdict("correct", f"{self.name}: correct on {len(cases)} inputs ({labels})")
        counter_example = self._counter_example(*shown)
        for bug in self.bugs:
            broken = [self._outcome(bug.broken, case) for case in cases]
            if not any(_difference(a, b, case.dtype) for a, b, case in zip(yours, broken, cases, strict=True)):
                text = (
                    f"{self.name}: not yet. I know this bug: {bug.wrong}.\n{bug.right}\n"
                    f"In the museum: {bug.name} ({bug.origin}).\n{counter_example}"
                )
                return Verdict("known bug", text, bug)
        return Verdict("wrong", f"{self.name}: not yet, and no bug of the museum explains it.\n{counter_example}")

    def _outcome(self, function: Function, case: Case, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """What a call gives, by name: values, gradients, the arguments afterwards; or the error it ends in."""
        arguments = [_copied(argument, dtype, self.gradients) for argument in case.arguments]
        try:
            values = {
                name: value.to(case.dtype) if dtype and value.is_floating_point() else value
                for name, value in tensors(function(*arguments), "result", case.dtype)
            }
        except Exception as error:  # a learner's function may raise anything
            return {"error": error}
        given = [(name, t) for name, t in tensors(dict(zip(self._names, arguments, strict=False)))]
        outcome: dict[str, Any] = {name: value.detach() for name, value in values.items()}
        leaves = [(name, t) for name, t in given if t.requires_grad]
        if leaves:
            outcome |= _gradients(values, leaves)
        return outcome | {f"{name} after the call": tensor.detach() for name, tensor in given}

    @property
    def _names(self) -> list[str]:
        return list(inspect.signature(self.oracle).parameters)

    def _counter_example(self, case: Case, difference: str) -> str:
        named = dict(zip(self._names, case.arguments, strict=False))
        width = max(len(name) for name in named)
        lines = [f"Smallest input that shows it ({case.label}):"]
        lines += [f"  {name:{width}} = {_brief(value)}" for name, value in named.items()]
        return "\n".join([*lines, difference])


def tensors(tree: Any, name: str = "", dtype: torch.dtype | None = None) -> list[tuple[str, Tensor]]:
    """The tensors of nested lists and dicts with their names.

    Args:
        tree: a tensor, a number, or lists, tuples and dicts of such; anything else is passed over.
        name: of the tree.
        dtype: of the tensors that floating-point numbers become.
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
    return [found for label, value in items for found in tensors(value, label, dtype)]


def _copied(argument: Any, dtype: torch.dtype | None, gradients: bool) -> Any:
    if isinstance(argument, Tensor):
        twin = argument.detach().clone()
        if not twin.is_floating_point():
            return twin
        return (twin.to(dtype) if dtype else twin).requires_grad_(gradients)
    if isinstance(argument, nn.Module):
        twin_module = copy.deepcopy(argument)
        return twin_module.to(dtype) if dtype else twin_module
    if isinstance(argument, list | tuple):
        return type(argument)(_copied(part, dtype, gradients) for part in argument)
    if isinstance(argument, dict):
        return {key: _copied(part, dtype, gradients) for key, part in argument.items()}
    return argument


def _is_stub(function: Function, case: Case) -> bool:
    try:
        return function(*(_copied(argument, None, False) for argument in case.arguments)) is None
    except NotImplementedError:
        return True
    except Exception:  # it does something: judged later
        return False


def _gradients(values: dict[str, Tensor], leaves: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Of a fixed random combination of all values, in each leaf; zero where nothing flows."""
    flowing = [value for value in values.values() if value.is_floating_point() and value.grad_fn is not None]
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if flowing:
        mixed = torch.stack([(value * _weights(value)).sum() for value in flowing]).sum()
        found = torch.autograd.grad(mixed, [leaf for _, leaf in leaves], allow_unused=True)
    return {
        f"gradient in {name}": torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves, found, strict=True)
    }


def _weights(value: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(value.numel())
    return torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)


def _difference(yours: dict[str, Any], expected: dict[str, Any], dtype: torch.dtype) -> str:
    """How two outcomes differ, in words; empty if they agree."""
    if "error" in yours or "error" in expected:
        errors = [outcome.get("error") for outcome in (yours, expected)]
        if type(errors[0]) is type(errors[1]):
            return ""
        told = [f"{type(error).__name__}: {error}" if error else "no error" for error in errors]
        return f"  yours    : {told[0]}\n  expected : {told[1]}"
    if yours.keys() != expected.keys():
        told = [", ".join(n for n in o if n.startswith("result")) or "no tensor or number" for o in (yours, expected)]
        return f"  yours    : {told[0]}\n  expected : {told[1]}"
    for name in expected:
        found = _tensor_difference(name, yours[name], expected[name], dtype)
        if found:
            return found
    return ""


def _tensor_difference(name: str, yours: Tensor, expected: Tensor, dtype: torch.dtype) -> str:
    if yours.shape != expected.shape:
        return f"  shape of {name}\n  yours    : {tuple(yours.shape)}\n  expected : {tuple(expected.shape)}"
    if name.startswith("result") and yours.dtype != expected.dtype:
        return f"  kind of {name}\n  yours    : {yours.dtype}\n  expected : {expected.dtype}"
    relative, absolute = TOLERANCE[dtype]
    a, b = yours.double(), expected.double()
    wrong = ~torch.isclose(a, b, rtol=relative, atol=absolute, equal_nan=True)
    if not wrong.any():
        return ""
    if a.numel() <= 12:
        return f"  {name}\n  yours    : {_brief(yours)}\n  expected : {_brief(expected)}"
    where = tuple(wrong.nonzero()[0].tolist())
    return (
        f"  {name}, element {list(where)} ({int(wrong.sum())} of {wrong.numel()} differ)\n"
        f"  yours    : {a[where].item():.4g}\n  expected : {b[where].item():.4g}"
    )


def _brief(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, Tensor):
        if value.numel() > 12:
            return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
        return _rounded(value.tolist())
    if isinstance(value, list | tuple):
        return f"[{', '.join(_brief(part) for part in value)}]"
    if isinstance(value, nn.Module):
        return str(value).split("\n")[0].rstrip("(")
    return getattr(value, "__name__", None) or repr(value)


def _rounded(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_rounded(part) for part in value)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
