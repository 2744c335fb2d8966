"""The original's weight files: exact names and shapes, and a decoder computed by hand from their tensors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from munit_lite.methods import build
from munit_lite.presets import preset
from munit_lite.storage.files import CheckpointError
from munit_lite.storage.nvlabs import load_original, save_original

pytestmark = pytest.mark.numerical

# Names and shapes of the original's files at its default configuration.
PUBLISHED = json.loads((Path(__file__).parent / "original_state_dict.json").read_text())
SMALL = {
    "base_channels": 4,
    "num_residual_blocks": 2,
    "style_dim": 3,
    "mlp_width": 6,
    "discriminator_base_channels": 4,
    "discriminator_layers": 2,
}


def numbers(shapes: dict[str, list[int]], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def small(tmp_path):
    """A small model, its two files, and what the generator file holds."""
    model = build(preset("paper256", image_size=32, **SMALL))
    with torch.no_grad():
        for parameter in model.parameters():  # biases begin at zero, which would hide a swap
            parameter.copy_(
                0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    save_original(model, tmp_path / "gen.pt", tmp_path / "dis.pt")
    return model, tmp_path, torch.load(tmp_path / "gen.pt", weights_only=True)


def test_files_with_the_published_names_and_shapes_load(tmp_path):
    generators = {key: numbers(PUBLISHED["generator"], seed) for seed, key in enumerate("ab")}
    discriminators = {key: numbers(PUBLISHED["discriminator"], seed + 2) for seed, key in enumerate("ab")}
    torch.save(generators, tmp_path / "gen.pt")
    torch.save(discriminators, tmp_path / "dis.pt")
    model = load_original(tmp_path / "gen.pt", tmp_path / "dis.pt")
    assert model.config.network == preset("paper256").network
    # Every published number that is used has arrived, each once, in its own domain.
    for domain, key in ((1, "a"), (2, "b")):
        for module, table in (
            (model.auto_encoder(domain), generators[key]),
            (model.discriminator(domain), discriminators[key]),
        ):
            loaded_sums = sorted(p.double().sum().item() for p in module.parameters())
            file_sums = sorted(v.double().sum().item() for n, v in table.items() if "running" not in n)
            assert loaded_sums == pytest.approx(file_sums, rel=1e-9, abs=1e-9)
    assert torch.equal(model.auto_encoder(2).decoder.mlp[4].weight, generators["b"]["mlp.model.2.fc.weight"])


def test_written_files_have_exactly_the_published_names_and_shapes(tmp_path):
    save_original(build(preset("paper256")), tmp_path / "gen.pt", tmp_path / "dis.pt")
    for file, kind in (("gen.pt", "generator"), ("dis.pt", "discriminator")):
        for table in torch.load(tmp_path / file, weights_only=True).values():
            assert {name: list(value.shape) for name, value in table.items()} == PUBLISHED[kind]


def test_a_round_trip_restores_every_tensor(small):
    model, folder, _ = small
    loaded = load_original(folder / "gen.pt", folder / "dis.pt")
    assert loaded.config.network == model.config.network
    for (name, value), other in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_without_a_discriminator_file_the_auto_encoders_are_loaded(small):
    model, folder, _ = small
    loaded = load_original(folder / "gen.pt")
    assert torch.equal(
        loaded.auto_encoder(2).decoder.to_image.conv.weight, model.auto_encoder(2).decoder.to_image.conv.weight
    )


def test_a_file_in_the_old_format_with_statistics_in_every_norm_is_loaded(small):
    """As PyTorch wrote files before 1.6; before 0.4 its instance norms carried running statistics as well."""
    model, folder, tables = small
    for table in tables.values():
        layers = [name for name in table if name.startswith("enc_content") and name.endswith("conv.weight")]
        for name in layers:
            for kind in ("mean", "var"):
                table[name.replace("conv.weight", f"norm.running_{kind}")] = torch.rand(len(table[name]))
    torch.save(tables, folder / "old.pt", _use_new_zipfile_serialization=False)
    loaded = load_original(folder / "old.pt")
    for domain in (1, 2):
        ours, read = model.auto_encoder(domain).state_dict(), loaded.auto_encoder(domain).state_dict()
        assert all(torch.equal(ours[name], read[name]) for name in ours)


# ------------------------------------------------------------------------- the decoder by hand, from the file's tensors


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(C, H, W), (D, C, k, k) -> (D, H, W): reflected border, then a sum over every offset."""
    pad = weight.shape[-1] // 2
    bordered = np.pad(x, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    out = np.zeros((len(weight), *x.shape[1:])) + bias[:, None, None]
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            window = bordered[:, i : i + x.shape[1], j : j + x.shape[2]]
            out += np.einsum("dc,chw->dhw", weight[:, :, i, j], window)
    return out


def by_hand(
    table: dict[str, torch.Tensor], content: np.ndarray, style: np.ndarray, blocks: int, ups: int
) -> np.ndarray:
    t = {name: value.double().numpy() for name, value in table.items()}
    hidden = style
    for k in range(3):
        hidden = t[f"mlp.model.{k}.fc.weight"] @ hidden + t[f"mlp.model.{k}.fc.bias"]
        hidden = np.maximum(hidden, 0) if k < 2 else hidden
    x, channels = content, len(content)
    layers = iter(hidden.reshape(-1, 2, channels))  # for each AdaIN layer: shift, then scale
    for block in range(blocks):
        y = x
        for layer in (0, 1):
            name = f"dec.model.0.model.{block}.model.{layer}.conv"
            y = convolved(y, t[f"{name}.weight"], t[f"{name}.bias"])
            shift, scale = next(layers)
            mean, variance = y.mean((1, 2), keepdims=True), y.var((1, 2), keepdims=True)
            y = (y - mean) / np.sqrt(variance + 1e-5) * scale[:, None, None] + shift[:, None, None]
            y = np.maximum(y, 0) if layer == 0 else y
        x = x + y
    for k in range(ups):
        name = f"dec.model.{2 + 2 * k}"
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        x = convolved(x, t[f"{name}.conv.weight"], t[f"{name}.conv.bias"])
        x = (x - x.mean()) / (x.std(ddof=1) + 1e-5)  # one mean and one unbiased deviation for all channels
        x = t[f"{name}.norm.gamma"][:, None, None] * x + t[f"{name}.norm.beta"][:, None, None]
        x = np.maximum(x, 0)
    last = f"dec.model.{1 + 2 * ups}.conv"
    return np.tanh(convolved(x, t[f"{last}.weight"], t[f"{last}.bias"]))


@pytest.mark.parametrize("domain", [1, 2])
def test_the_decoder_computed_by_hand_from_the_files_tensors_is_ours(small, domain):
    _, folder, tables = small
    model = load_original(folder / "gen.pt")
    generator = torch.Generator().manual_seed(domain)
    content, style = torch.randn(1, 16, 6, 8, generator=generator), torch.randn(1, 3, generator=generator)
    with torch.no_grad():
        ours = model.decode(content, style, domain)[0].double().numpy()
    table = tables["ab"[domain - 1]]
    hand = by_hand(table, content[0].double().numpy(), style[0].double().numpy(), blocks=2, ups=2)
    assert hand.shape == (3, 24, 32) and hand.std() > 0.05
    assert np.abs(ours - hand).max() < 1e-5
    swapped = dict(table)  # the same with scale before shift is another picture: the test can fail
    swapped["mlp.model.2.fc.weight"] = table["mlp.model.2.fc.weight"].view(-1, 2, 16, 6).flip(1).reshape(-1, 6)
    swapped["mlp.model.2.fc.bias"] = table["mlp.model.2.fc.bias"].view(-1, 2, 16).flip(1).reshape(-1)
    wrong = by_hand(swapped, content[0].double().numpy(), style[0].double().numpy(), blocks=2, ups=2)
    assert np.abs(ours - wrong).max() > 1e-2


# --------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(("damage", "message"), [
    (lambda t: t["a"].pop("dec.model.2.norm.gamma"), r"domain 'a': the tensor dec\.model\.2\.norm\.gamma is missing"),
    (lambda t: t["b"].update(extra=torch.zeros(1)), r"domain 'b': the tensor extra is unexpected"),
    (lambda t: t["b"].update({"mlp.model.0.fc.bias": torch.zeros(9)}), r"mlp\.model\.0\.fc\.bias has shape \(9,\)"),
    (lambda t: t["a"].pop("enc_content.model.0.conv.weight"), "is not a generator file of the original: it has no"),
    (lambda t: t.pop("b"), "is not a weight file of the original: it must contain tensors by name under 'a' and 'b'"),
])  # fmt: skip
def test_files_that_are_not_the_originals_are_refused(small, damage, message):
    _, folder, tables = small
    damage(tables)
    torch.save(tables, folder / "bad.pt")
    with pytest.raises(CheckpointError, match=message):
        load_original(folder / "bad.pt")


class Trap:
    def __reduce__(self):
        return print, ("code was run",)


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"a": Trap(), "b": Trap()}, tmp_path / "gen.pt")
    with pytest.raises(CheckpointError, match=r"gen\.pt cannot be read as a weight file of the original"):
        load_original(tmp_path / "gen.pt")
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_unreadable_files_are_named(tmp_path, content):
    if content is not None:
        (tmp_path / "gen.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"gen\.pt"):
        load_original(tmp_path / "gen.pt")
