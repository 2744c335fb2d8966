"""Judges: small networks that read content and style back from an image of the known world.

They are trained on labeled renders, shipped under `data/checkpoints/`, and their own errors are measured
and shipped beside them. Train them again with `python -m munit_lite.evaluation.attribute_predictors`.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from tqdm.auto import tqdm

from munit_lite.experiments.results import write_results
from munit_lite.storage.checkpoints import SHIPPED, read_tensors, versions, write_tensors
from munit_lite.storage.files import write_checksum
from munit_lite.world import (
    CONTENT_FACTORS,
    DOMAIN_NAMES,
    SHAPE_NAMES,
    STYLE_FACTORS,
    Content,
    World,
    check_domain,
    render,
    style_from_code,
)

JUDGE_SIZE = 32  # larger images are averaged down to this side


class Reading(NamedTuple):
    """What a judge reads from B images."""

    class_logits: Tensor  # (B, 6)
    position: Tensor  # (B, 2) in image widths
    size: Tensor  # (B,) in image widths
    turn: Tensor  # (B,) in symmetry periods; meaningless for round shapes
    style: Tensor  # (B, 3) in the units of STYLE_FACTORS[domain]

    @property
    def shape_class(self) -> Tensor:
        return self.class_logits.argmax(dim=1)


class Judge(nn.Module):
    """Reads class, position, size, turn and the three style factors of one domain.

    Args:
        domain: 1 (sketch) or 2 (painting).
    """

    low: Tensor
    span: Tensor

    def __init__(self, domain: int) -> None:
        super().__init__()
        self.domain = check_domain(domain)
        widths = (3, 32, 64, 96, 96)
        layers: list[nn.Module] = []
        for k, (a, b) in enumerate(itertools.pairwise(widths)):
            layers += [nn.Conv2d(a, b, 3, stride=1 + (k > 0), padding=1), nn.GroupNorm(8, b), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(96 * 4 * 4, 160), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(160, len(SHAPE_NAMES) + 4 + 3))
        factors = CONTENT_FACTORS + STYLE_FACTORS[domain]
        self.register_buffer("low", torch.tensor([f.low for f in factors]), persistent=False)
        self.register_buffer("span", torch.tensor([f.span for f in factors]), persistent=False)

    def forward(self, images: Tensor) -> Reading:
        """(B, 3, H, W) in [-1, 1], H a multiple of 32 -> Reading."""
        outputs = self.layers(self.shrunk(images))  # (B, 13)
        values = self.low + self.span * outputs[:, len(SHAPE_NAMES) :]
        return Reading(outputs[:, : len(SHAPE_NAMES)], values[:, :2], values[:, 2], values[:, 3], values[:, 4:])

    def shrunk(self, images: Tensor) -> Tensor:
        """Larger images averaged down to the side that the judge was trained on.

        Raises:
            ValueError: the side is no multiple of it.
        """
        factor, rest = divmod(images.shape[-1], JUDGE_SIZE)
        if rest or not factor:
            raise ValueError(
                f"images of {images.shape[-1]} px cannot be judged: the side must be a multiple of {JUDGE_SIZE}"
            )
        return F.avg_pool2d(images, factor) if factor > 1 else images

    def loss(self, images: Tensor, content: Content, style_factors: Tensor) -> Tensor:
        """Cross-entropy of the class plus L1 of every factor in units of its range."""
        reading = self(images)
        truth = torch.cat([content.position, content.size[:, None], content.turn[:, None], style_factors], dim=1)
        read = torch.cat([reading.position, reading.size[:, None], reading.turn[:, None], reading.style], dim=1)
        error = (read - truth).abs() / self.span  # (B, 7)
        has_turn = (content.angle != 0).float()
        turn_error = (error[:, 3] * has_turn).mean()
        return F.cross_entropy(reading.class_logits, content.shape_class) + 4 * (
            error[:, :3].mean() + turn_error + error[:, 4:].mean()
        )


@dataclass(frozen=True)
class JudgeRecipe:
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0


def labeled_renders(
    domain: int, index: Tensor, seed: int, stream: str, size: int = JUDGE_SIZE
) -> tuple[Tensor, Content, Tensor]:
    """Images of one domain with their truth: images (B, 3, size, size), contents, style factors (B, 3)."""
    world = World("standard")
    content = world.content(index, seed, domain, stream)
    style = style_from_code(world.style_code(index, seed, domain, stream), domain)
    factors = torch.stack([getattr(style, f.name) for f in STYLE_FACTORS[domain]], dim=1)
    return render(content, style, domain, size), content, factors


def train_judge(domain: int, recipe: JudgeRecipe, shuffle_labels: bool = False) -> Judge:
    """Train a judge on endless labeled renders, each blurred and noised a little.

    Args:
        domain: 1 or 2.
        recipe: steps, batch, rate, seed.
        shuffle_labels: the control: labels of another image, so nothing can be learned.
    """
    torch.manual_seed(recipe.seed)
    judge = Judge(domain)
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps)
    for step in tqdm(range(recipe.steps), desc=f"judge of {DOMAIN_NAMES[domain]}s", mininterval=1):
        index = torch.arange(recipe.batch_size) + step * recipe.batch_size
        images, content, factors = labeled_renders(domain, index, recipe.seed, "judge-train")
        if shuffle_labels:
            order = torch.randperm(len(images))
            content, factors = content[order], factors[order]
        optimizer.zero_grad()
        judge.loss(_disturb(images), content, factors).backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


def _disturb(images: Tensor) -> Tensor:
    """Half of the images blurred, all noised: translations are not as clean as renders."""
    amount = torch.rand(len(images), 1, 1, 1) * (torch.rand(len(images), 1, 1, 1) < 0.5)
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    noise = 0.08 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(images)
    return images + amount * (blurred - images) + noise


@torch.no_grad()
def judge_errors(judge: Judge, count: int = 10_000, seed: int = 1) -> dict[str, float]:
    """A judge's own errors on fresh clean renders: class accuracy, mean absolute errors in range units."""
    hits, errors, turns = [], [], []
    for start in range(0, count, 500):
        images, content, factors = labeled_renders(
            judge.domain, torch.arange(start, min(start + 500, count)), seed, "judge-test"
        )
        reading = judge(images)
        hits.append(reading.shape_class == content.shape_class)
        position = (reading.position - content.position).norm(dim=1)
        size = (reading.size - content.size).abs()
        style = (reading.style - factors).abs() / judge.span[4:]
        errors.append(torch.cat([position[:, None], size[:, None], style], dim=1))
        turns.append((reading.turn - content.turn).abs()[content.angle != 0])
    mean = torch.cat(errors).mean(dim=0).tolist()
    names = ["position_error", "size_error", *(f"{f.name}_error_of_range" for f in STYLE_FACTORS[judge.domain])]
    return {
        "class_accuracy": torch.cat(hits).float().mean().item(),
        **dict(zip(names, mean, strict=True)),
        "turn_error_periods": torch.cat(turns).mean().item(),
        "count": count,
    }


# ----------------------------------------------------------------------------------------------- shipped judges


def judge_file(domain: int) -> Path:
    return SHIPPED / f"judge_{DOMAIN_NAMES[check_domain(domain)]}.safetensors"


def load_judge(domain: int) -> Judge:
    """The shipped judge of a domain.

    Raises:
        CheckpointError: its file is missing or damaged.
    """
    tensors, _ = read_tensors(judge_file(domain))
    judge = Judge(domain)
    judge.load_state_dict(tensors)
    return judge.eval()


def ship_judges(recipe: JudgeRecipe = JudgeRecipe()) -> None:
    """Train both judges and their shuffled-label controls; write weights and measured errors."""
    measured = {}
    for domain, name in DOMAIN_NAMES.items():
        judge = train_judge(domain, recipe)
        header = {"recipe": asdict(recipe), "versions": versions()}
        write_tensors(judge_file(domain), judge.state_dict(), header)
        write_checksum(judge_file(domain))
        control = train_judge(domain, replace(recipe, steps=recipe.steps // 8), shuffle_labels=True)
        measured[name] = judge_errors(judge) | {
            "class_accuracy_shuffled_labels": judge_errors(control, count=2000)["class_accuracy"],
            "most_frequent_class": max(World().variant.frequencies_1),
        }
    command = "python -m munit_lite.evaluation.attribute_predictors"
    write_results("judges", measured, asdict(recipe), command, columns=("domain",))
    print("now write the model cards: python tools/publish_checkpoint.py cards")


if __name__ == "__main__":
    ship_judges(tyro.cli(JudgeRecipe))
