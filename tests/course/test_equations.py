"""The registry of equations: complete, and each function equal to a NumPy transcription in value and gradient."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys

import numpy as np
import numpy_reference as reference
import pytest
import torch
from notebook_files import WRITTEN, code, read

from munit_lite import losses, networks
from munit_lite.course.equation_display import exchange_domains, latex_from_docstring
from munit_lite.course.equations import EQUATIONS, equation

pytestmark = pytest.mark.numerical

# What the summary and the propositions state: REFERENCE sections 1 and 4, and the two names of section 5.1.
STATED = {
    *(f"L_recon^{letter}{i}" for letter in "xcs" for i in (1, 2)),
    *(f"{kind}^x{i}" for kind in ("L_GAN", "L_cc") for i in (1, 2)),
    *("x=G*(c,s)", "E*=(G*)^-1", "p(x1→2|x1)=p(x2|x1)", "(c,s)=E(x)", "x1→2", "q(s)", "IN", "AdaIN", "total"),
    *("proposition 1", "p(c1)=p(c2)", "p(s1)=q(s1)", "p(s2)=q(s2)", "p(x1,x1→2)=p(x2→1,x2)", "F1→2", "F1→2=F2→1^-1"),
}

_random = np.random.default_rng(4)
FEATURES = [_random.normal(0, 1.5, (2, 3, 4, 5)) for _ in range(2)]
VECTORS = [_random.normal(0, 1.5, (2, 3)) for _ in range(2)]
LOGITS = [[_random.normal(0, 1.5, (2, 1, k, k)) for k in (4, 2)] for _ in range(2)]


def _summed(gradients_of, values):
    """A transcription of an array's value, as one of a scalar: the sum of all elements."""
    return float(values.sum()), gradients_of(np.ones_like(values))


# Function -> (arguments, its value and gradients transcribed); arrays stand for their sum.
TRANSCRIPTIONS = {
    **{
        function: (pair, lambda a, b: (reference.mean_l1(a, b)[0], reference.mean_l1(a, b)[1:]))
        for function, pair in (
            (losses.image_reconstruction_loss, FEATURES),
            (losses.cycle_consistency_loss, FEATURES),
            (losses.content_reconstruction_loss, FEATURES),
            (losses.style_reconstruction_loss, VECTORS),
        )
    },
    **{
        getattr(losses, f"{form}_discriminator_loss"): (
            LOGITS,
            lambda real, fake, form=form: reference.discriminator_loss(form, real, fake),
        )
        for form in ("minimax", "lsgan", "hinge")
    },
    **{
        getattr(losses, f"{form}_generator_loss"): (
            LOGITS[:1],
            lambda fake, form=form: reference.generator_loss(form, fake),
        )
        for form in ("minimax", "nonsaturating", "lsgan", "hinge")
    },
    losses.domain_invariant_perceptual_loss: (
        FEATURES,
        lambda a, b: (reference.perceptual(a, b)[0], reference.perceptual(a, b)[1:]),
    ),
    losses.r1_penalty: (  # of D(x) = |x|^2 / 2, whose gradient is x
        FEATURES[:1],
        lambda x: (float((x**2).sum() / len(x) / 2), [x / len(x)]),
    ),
    losses.total_loss: (
        [np.array(2.0), np.array(3.0), np.array(5.0)],
        lambda *terms: (2.0 + 10 * 3.0 + 0.5 * 5.0, [1.0, 10.0, 0.5]),
    ),
    networks.instance_norm: (
        FEATURES[:1],
        lambda z: _summed(lambda g: [reference.instance_norm_gradient(z, g)], reference.instance_norm(z)),
    ),
    networks.adaptive_instance_norm: (
        [FEATURES[0], *VECTORS],
        lambda z, gamma, beta: _summed(
            lambda g: reference.adain_gradients(z, gamma, g), reference.adain(z, gamma, beta)
        ),
    ),
    networks.LayerNorm.forward: (
        [FEATURES[0], VECTORS[0][0], VECTORS[1][0]],
        lambda z, a, b: _summed(lambda g: reference.layer_norm_gradients(z, a, g), reference.layer_norm(z, a, b)),
    ),
}


def _call(function, *leaves):
    """A registered function on plain arguments."""
    if function is losses.total_loss:
        gan, image, style = leaves
        return function({"gan_1": gan, "image_1": image, "style_1": style}, {"gan": 1.0, "image": 10.0, "style": 0.5})
    if function is losses.r1_penalty:
        (x,) = leaves
        return function([(x**2).sum((1, 2, 3))[:, None, None, None] / 2], x)
    if function is networks.LayerNorm.forward:
        features, scale, shift = leaves
        norm = networks.LayerNorm(len(scale)).double()
        return torch.func.functional_call(norm, {"scale": scale, "shift": shift}, (features,))
    return function(*leaves)


# These make or sample images; their truth is tested with the world, the networks and the model.
TESTED_ELSEWHERE = {"render", "AutoEncoder.encode", "MUNIT.translate", "MUNIT.sample_style"}
IMPLEMENTED = sorted({f for e in EQUATIONS.values() for f in e.functions}, key=lambda f: f.__qualname__)


@pytest.mark.parametrize("function", IMPLEMENTED, ids=lambda function: function.__qualname__)
def test_an_equations_function_agrees_with_numpy_in_value_and_gradient(function):
    if function.__qualname__ in TESTED_ELSEWHERE:
        assert function not in TRANSCRIPTIONS
        return
    arguments, transcription = TRANSCRIPTIONS[function]
    flat: list[torch.Tensor] = []

    def leaf(array):
        flat.append(torch.tensor(array, dtype=torch.float64, requires_grad=True))
        return flat[-1]

    leaves = [[leaf(a) for a in argument] if isinstance(argument, list) else leaf(argument) for argument in arguments]
    value = _call(function, *leaves).sum()
    expected, gradients = transcription(*arguments)
    assert value.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    for found, wanted in zip(torch.autograd.grad(value, flat), gradients, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_every_stated_equation_is_there():
    assert set(EQUATIONS) >= STATED


def test_every_loss_belongs_to_an_equation():
    functions = [f for f in vars(losses).values() if inspect.isfunction(f) and f.__module__ == losses.__name__]
    public = {f for f in functions if not f.__name__.startswith("_")}
    assert public <= set(IMPLEMENTED)


@pytest.mark.parametrize("key", EQUATIONS)
def test_an_equation_has_code_or_a_check_and_says_what_its_letters_mean(key):
    found = EQUATIONS[key]
    assert bool(found.functions) != bool(found.check)
    assert found.summary and found.location and found.symbols
    assert found.latex.count("{") == found.latex.count("}") and found.latex.count(r"\left") == found.latex.count(
        r"\right"
    )


def test_checks_named_by_equations_exist():
    from munit_lite.theory import propositions

    assert {e.check for e in EQUATIONS.values() if e.check} <= set(dir(propositions))


def test_the_style_equation_targets_the_style_that_was_fed():
    """A common mistake is L_recon^s2 with the target s1."""
    for i in (1, 2):
        latex = equation(f"L_recon^s{i}").latex
        assert rf"- s_{i} \rVert_1" in latex and f"s_{3 - i}" not in latex


@pytest.mark.parametrize(
    ("key", "functions"),
    [
        ("L_recon^x1", (losses.image_reconstruction_loss,)),
        ("L_recon^c1", (losses.content_reconstruction_loss,)),
        ("L_recon^s2", (losses.style_reconstruction_loss,)),
        ("L_GAN^x2", (losses.minimax_discriminator_loss,)),
        ("L_cc^x1", (losses.cycle_consistency_loss,)),
        ("LSGAN", (losses.lsgan_discriminator_loss, losses.lsgan_generator_loss)),
        ("hinge", (losses.hinge_discriminator_loss, losses.hinge_generator_loss)),
        ("R1", (losses.r1_penalty,)),
        ("total", (losses.total_loss,)),
        ("L_perceptual", (losses.domain_invariant_perceptual_loss,)),
    ],
)
def test_the_latex_of_a_loss_stands_in_its_docstring(key, functions):
    for function in functions:
        assert " ".join(function.__doc__.split("$$")[1].split()) in equation(key).latex
    assert equation(key).functions[: len(functions)] == functions


def test_a_docstring_without_one_formula_is_an_error():
    def undocumented(): ...

    def two():
        "$$ a $$ and $$ b $$"

    for function, number in ((undocumented, 0), (two, 2)):
        with pytest.raises(ValueError, match=f"{function.__name__} has {number} formulas"):
            latex_from_docstring(function)


@pytest.mark.parametrize("stem", ["L_recon^x", "L_recon^c", "L_recon^s", "L_GAN^x", "L_cc^x"])
def test_the_equations_of_the_two_domains_are_mirror_images(stem):
    one, two = equation(f"{stem}1").latex, equation(f"{stem}2").latex
    assert one != two and exchange_domains(one) == two and exchange_domains(two) == one
    assert one.count(r"\rVert_1") == two.count(r"\rVert_1") == one.count(r"\rVert")


def test_shown_is_the_latex_with_the_source_folded_below():
    shown = equation("AdaIN").show()._repr_markdown_()
    assert r"$$ \mathrm{AdaIN}(z, \gamma, \beta) = \gamma \, \frac{z - \mu(z)}{\sigma(z)} + \beta $$" in shown
    assert "<details><summary>source: <code>munit_lite.networks.adaptive_instance_norm</code></summary>" in shown
    assert "return torch.addcmul(" in shown and shown.count("<details>") == shown.count("</details>") == 1


@pytest.mark.parametrize("key", EQUATIONS)
def test_every_source_that_is_shown_is_a_function_that_parses(key):
    for source in re.findall(r"```python\n(.*?)\n```", equation(key).markdown(), flags=re.DOTALL):
        (shown,) = ast.parse(source).body
        assert isinstance(shown, ast.FunctionDef | ast.ClassDef)


def test_an_unknown_equation_is_an_error_that_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"there is no equation 'L_recon\^z'; known: .*L_recon\^x1"):
        equation("L_recon^z")


@pytest.mark.slow
@pytest.mark.processes
def test_reading_the_registry_does_not_import_ipython():
    program = (
        "import sys, munit_lite.course.equations as e; e.equation('AdaIN').markdown(); print('IPython' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


def _shown() -> dict[str, str]:
    """Equations that notebooks show: key -> notebook. A cell that asks for one has its formula in its output."""
    shown = {}
    for name in WRITTEN:
        for cell in code(read(name)):
            for key in re.findall(r"""equation\(r?["'](.+?)["']\)""", cell.source):
                output = "".join("".join(out.get("data", {}).get("text/markdown", "")) for out in cell.outputs)
                assert key not in EQUATIONS or EQUATIONS[key].latex in output, f"{name} does not show {key}"
                shown[key] = name
    return shown


def test_notebooks_show_only_equations_of_the_registry():
    assert set(_shown()) <= set(EQUATIONS)


def test_every_equation_is_shown_in_a_notebook_for_one_of_the_two_domains():
    """The same equation of the other domain differs by an exchange of 1 and 2, which a reader need not see again."""
    shown = set(_shown())
    exchanged = {name.translate(str.maketrans("12", "21")) for name in shown if re.search(r"\^.[12]$", name)}
    assert shown <= set(EQUATIONS) <= shown | exchanged
