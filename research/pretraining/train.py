"""Train the embedded backbone.

``python -m research.pretraining.train --data D --teachers T --out RUN``.

Resumes from RUN when it holds a checkpoint.  The schedule is a share of the training
time, so a busy machine shortens the run in steps, not in minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from research.common.teachers import MEAN, STD, TargetSpace, Teachers

from .data import CropSampler, load_sources
from .muon import Muon
from .recipes import BATCH, RECIPES, SIZES
from .student import GUIDED, Student, guidance, load_weights, losses
from .textures import region_bank

CHECKED_SIZES = (128, 256)

STORED, DRAWN = 6, 3
"""Random guidances an image in the replay memory, and in a step."""

LONGEST_STEP = 20.0
"""Seconds one step counts at most: while a machine is suspended the schedule stands still too."""


def schedule(share: float, peak: float) -> float:
    """Warm-up over 2 %, constant to 45 %, cosine to 1 % of the peak."""
    if share < 0.02:
        return peak * max(share / 0.02, 0.02)
    if share < 0.45:
        return peak
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (share - 0.45) / 0.55))))


def normalise(images: np.ndarray) -> tuple[Tensor, Tensor]:
    """uint8 (B, H, W, 3) -> images in [0, 1] and ImageNet-normalised, both (B, 3, H, W)."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return x, ((x - mean) / std).contiguous(memory_format=torch.channels_last)


@dataclass
class Replay:
    """Crops with their targets, each used about ``reuse`` times.

    Attributes:
        sampler: of crops.
        teachers: the networks.
        space: of their targets.
        bank: guidance regions on the patch grid (N, h, w).
        capacity: crops held.
    """

    sampler: CropSampler
    teachers: Teachers
    space: TargetSpace
    bank: Tensor
    capacity: int

    def __post_init__(self) -> None:
        self.items: list[tuple[np.ndarray, Tensor, dict[str, Tensor]]] = []
        self.cursor = 0

    def add(self, rng: np.random.Generator, count: int, size: int) -> None:
        """Sample crops, run the teachers, overwrite the oldest items."""
        images, bias, raw = taught(self.sampler, self.teachers, self.bank, rng, count, size)
        targets = self.space.reduce(raw)
        for i in range(count):
            item = (images[i], bias[i].clone(), {k: v[i].clone() for k, v in targets.items()})
            if len(self.items) < self.capacity:
                self.items.append(item)
            else:
                self.items[self.cursor % self.capacity] = item
            self.cursor += 1

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Random items as a batch: normalised images, biases (B, 1 + DRAWN, P), targets."""
        picked = [self.items[int(i)] for i in rng.choice(len(self.items), count, replace=False)]
        x = normalise(np.stack([p[0] for p in picked]))[1]
        targets = {k: torch.stack([p[2][k] for p in picked]) for k in picked[0][2]}
        some = [0, *(1 + rng.choice(STORED, DRAWN, replace=False))]
        targets[GUIDED] = targets[GUIDED][:, some]
        return x, torch.stack([p[1][some] for p in picked]), targets


def taught(
    sampler: CropSampler,
    teachers: Teachers,
    bank: Tensor,
    rng: np.random.Generator,
    count: int,
    size: int,
) -> tuple[np.ndarray, Tensor, dict[str, Tensor]]:
    """Fresh crops uint8 (B, S, S, 3), biases (B, 1 + STORED, P), the teachers' raw features."""
    images, masks = sampler.batch(rng, count, size)
    grids = F.avg_pool2d(torch.from_numpy(masks).unsqueeze(1), 16)[:, 0]
    bias = guidance(rng, bank, grids, STORED)
    return images, bias, teachers(normalise(images)[0], bias)


class Trainer:
    """State of one training run in a folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.recipe = args, RECIPES[args.recipe]
        self.out: Path = args.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.student = Student().to(memory_format=torch.channels_last)
        named = [(n, p) for n, p in self.student.named_parameters() if p.requires_grad]
        matrices = [p for n, p in named if n.endswith("weight") and p.ndim > 1 and "heads" not in n]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in chosen]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=args.lr, weight_decay=0.03),
            torch.optim.AdamW(rest, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.step, self.elapsed, self.seen = 0, 0.0, 0
        if (self.out / "state.json").exists():
            self._resume()
        else:
            if args.start is not None:
                self._start_from(args.start)
            self.ema = {k: v.clone() for k, v in self.student.state_dict().items()}
        self.rng = np.random.default_rng(args.seed + self.step)

    def _resume(self) -> None:
        state = json.loads((self.out / "state.json").read_text())
        self.step, self.elapsed, self.seen = state["step"], state["elapsed"], state["seen"]
        tensors = load_file(str(self.out / "state.safetensors"))
        load_weights(self.student, tensors, "ema.")
        self.ema = {k: v.clone() for k, v in self.student.state_dict().items()}
        load_weights(self.student, tensors, "model.")
        for i, (optimiser, p) in enumerate(self._parameters()):
            prefix = f"opt.{i}."
            kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if kept:
                optimiser.state[p] = kept

    def _start_from(self, run: Path) -> None:
        """Averaged weights and target space of another run: a further round of training."""
        tensors = load_file(str(run / "state.safetensors"))
        load_weights(self.student, tensors, "ema.", other_heads=True)
        shutil.copyfile(run / "targets.safetensors", self.out / "targets.safetensors")

    def _parameters(self) -> Iterator[tuple[torch.optim.Optimizer, Tensor]]:
        """Every trained parameter with its optimiser, in a fixed order."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                for p in group["params"]:
                    yield optimiser, p

    def save(self) -> None:
        """Write the checkpoint; a killed run leaves the previous one whole."""
        tensors = {f"model.{k}": v for k, v in self.student.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for i, (optimiser, p) in enumerate(self._parameters()):
            for key, value in optimiser.state.get(p, {}).items():
                tensors[f"opt.{i}.{key}"] = value
        save_file(
            {k: v.detach().contiguous() for k, v in tensors.items()},
            str(self.out / "new.safetensors"),
        )
        os.replace(self.out / "new.safetensors", self.out / "state.safetensors")
        state = {"step": self.step, "elapsed": self.elapsed, "seen": self.seen}
        (self.out / "new.json").write_text(json.dumps(state))
        os.replace(self.out / "new.json", self.out / "state.json")

    def update(
        self, x: Tensor, targets: dict[str, Tensor], bias: Tensor, lr: float
    ) -> tuple[float, dict[str, float]]:
        """One optimiser step and the moving average of the weights."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = lr
        with torch.autocast("cpu", torch.bfloat16):
            loss, cosines = losses(self.student, x, targets, bias, self.recipe.weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 3.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        self.seen += len(x)
        keep = min(0.998, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for k, v in self.student.state_dict().items():
                if v.is_floating_point():
                    self.ema[k].lerp_(v, 1 - keep)
        return float(loss.detach()), cosines

    def log(self, record: dict[str, object]) -> None:
        """Append a line to the curves."""
        with (self.out / "curves.jsonl").open("a") as f:
            f.write(json.dumps(record) + "\n")


Held = list[tuple[Tensor, dict[str, Tensor], Tensor]]
"""Validation crops of one size each: images, targets, guidance biases."""


@torch.no_grad()
def validate(trainer: Trainer, student: Student, held: Held) -> dict[str, dict[str, float]]:
    """Cosines of the averaged weights on held-out crops, by crop size."""
    student.load_state_dict(trainer.ema)
    student.eval()
    out = {}
    for x, targets, bias in held:
        parts = []
        with torch.autocast("cpu", torch.bfloat16):
            for i in range(0, len(x), 16):
                part = {k: v[i : i + 16] for k, v in targets.items()}
                parts.append(losses(student, x[i : i + 16], part, bias[i : i + 16], {})[1])
        size = str(x.shape[-1])
        out[size] = {k: round(float(np.mean([p[k] for p in parts])), 4) for k in parts[0]}
    return out


def held_out_crops(
    sampler: CropSampler, teachers: Teachers, space: TargetSpace, bank: Tensor
) -> Held:
    """The same validation crops in every run, at each of ``CHECKED_SIZES``."""
    out: Held = []
    for size in CHECKED_SIZES:
        rng = np.random.default_rng(12345)
        regions = F.adaptive_avg_pool2d(bank, size // 16)
        parts = [taught(sampler, teachers, regions, rng, 16, size) for _ in range(192 * 8 // size)]
        x = normalise(np.concatenate([p[0] for p in parts]))[1]
        targets = [space.reduce(p[2]) for p in parts]
        both = {k: torch.cat([t[k] for t in targets]) for k in targets[0]}
        out.append((x, both, torch.cat([p[1] for p in parts])))
    return out


def prepare(args: argparse.Namespace) -> tuple[dict[int, Replay], Held]:
    """Replay memories by crop size, which fill as they are used, and the validation crops."""
    sources = load_sources(args.data)
    teachers = Teachers(args.teachers)
    path = args.out / "targets.safetensors"
    zoom = RECIPES[args.recipe].zoom
    train = CropSampler(sources, zoom=zoom)
    bank = torch.from_numpy(region_bank(np.random.default_rng(12345), 3000, 64))
    banks = {s: F.adaptive_avg_pool2d(bank, s // 16) for s in SIZES}
    space = TargetSpace.load(path) if path.exists() else TargetSpace({})
    if space.lacking:
        rng, size = np.random.default_rng(args.seed), SIZES[-1]
        space.fit([taught(train, teachers, banks[size], rng, 16, size)[2] for _ in range(24)])
        space.save(path)
    held = held_out_crops(CropSampler(sources, True, zoom=zoom), teachers, space, bank)
    memory = {s: args.memory * SIZES[0] ** 2 // s**2 for s in SIZES}
    return {s: Replay(train, teachers, space, banks[s], memory[s]) for s in SIZES}, held


def train(args: argparse.Namespace) -> None:
    """The loop."""
    cv2.setNumThreads(1)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    trainer = Trainer(args)
    replays, held = prepare(args)
    checker = Student()
    budget, fresh = args.minutes * 60, 0.0
    draws = dict.fromkeys(SIZES, 0)
    clock = saved = checked = time.monotonic()
    while trainer.elapsed < budget:
        share = trainer.elapsed / budget
        chances = next(p for p in trainer.recipe.phases if share < p[0])[1]
        size = SIZES[int(trainer.rng.choice(len(SIZES), p=chances))]
        batch, replay = BATCH[size], replays[size]
        began = time.monotonic()
        while len(replay.items) < 2 * batch or draws[size] % args.reuse == 0:
            replay.add(trainer.rng, batch, size)
            draws[size] += 1
        draws[size] += 1
        fresh += time.monotonic() - began
        x, bias, targets = replay.draw(trainer.rng, batch)
        trainer.student.train()
        loss, cosines = trainer.update(x, targets, bias, schedule(share, args.lr))
        now = time.monotonic()
        trainer.elapsed += min(now - clock, LONGEST_STEP)
        clock = now
        minutes = round(trainer.elapsed / 60, 2)
        if trainer.step % 50 == 0:
            head = {"step": trainer.step, "seen": trainer.seen, "minutes": minutes}
            more = {"size": size, "fresh_seconds": round(fresh, 1), "loss": round(loss, 4)}
            trainer.log({**head, **more, **{k: round(v, 3) for k, v in cosines.items()}})
            fresh = 0.0
        if now - checked > 600:
            checked = now
            held_out = validate(trainer, checker, held)
            trainer.log({"step": trainer.step, "minutes": minutes, "held_out": held_out})
        if now - saved > 150:
            trainer.save()
            saved = now
    trainer.save()
    held_out = validate(trainer, checker, held)
    trainer.log({"step": trainer.step, "minutes": round(budget / 60, 2), "held_out": held_out})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--start", type=Path, help="run whose averaged weights to start from")
    parser.add_argument("--recipe", default="balanced", choices=list(RECIPES))
    parser.add_argument("--reuse", type=int, default=8, help="draws for each fresh batch")
    parser.add_argument("--memory", type=int, default=4096, help="crops kept of 128 pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
