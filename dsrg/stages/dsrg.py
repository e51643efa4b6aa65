"""Deep Seeded Region Growing (Huang et al., CVPR 2018), the training that the project is named after.

Each iteration: softmax, dense CRF, growing of the seeds, seed loss and boundary loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dsrg import losses, tables
from dsrg.crf import dense_crf
from dsrg.grow import grow_seeds
from dsrg.labels import IGNORE, palette
from dsrg.run import inference, networks
from dsrg.run.folder import Figures, Run, Stage
from dsrg.run.trainer import train
from dsrg.schema import Config


def train_dsrg(run: Run) -> Stage:
    """Train the segmentation network on the seeds (Sect. 3).

    Writes dsrg/checkpoint.pt, metrics.jsonl, TensorBoard events.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        seeds, model, step = run.require("seeds"), networks.new_deeplab(run), DsrgStep(run.cfg)

        def work() -> Figures:
            true = run.true_masks if run.cfg.corrections.seeds else {}
            train(run, stage.directory, model, step, run.cfg.dsrg, seeds, step.pictures, true_masks=true)
            return {}

        return work

    return run.make("dsrg", prepare)


class DsrgStep:
    """One DSRG iteration: from a batch to its losses.

    Args:
        cfg: The sections losses, grow, crf and dsrg.
    """

    def __init__(self, cfg: Config) -> None:
        self.losses = {name: tables.LOSSES[name] for name in cfg.losses.enabled}
        self.grow = cfg.grow
        self.grid = cfg.dsrg.grid
        self.crf = cfg.crf.on_grid(cfg.crf.train_scale)
        self.crf_tags = cfg.crf.tags
        self.crf_unary = cfg.crf.train_unary

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        probs = self.probabilities(model, batch)
        seeds, grown, refined = self.supervision(probs.detach(), batch, iteration)
        targets = {"grown": grown, "refined": refined}
        scalars = {
            f"{name}_loss": tables.part(loss.place)(probs, targets[loss.target]) for name, loss in self.losses.items()
        }
        scalars["loss"] = torch.stack(list(scalars.values())).sum()
        scalars["seed_coverage"] = (seeds != IGNORE).float().mean()
        scalars["grown_coverage"] = (grown != IGNORE).float().mean()
        return scalars

    def probabilities(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The network's floored softmax on the grid, (B, C, h, w) float32."""
        logits = inference.forward(model, batch)
        if self.grid is not None:
            side = (batch["images"].shape[-1] - 1) // self.grid + 1
            logits = inference.enlarge(logits.float(), (side, side))
        return losses.floored_softmax(logits)

    @torch.no_grad()
    def supervision(self, probs: Tensor, batch: dict[str, Tensor], iteration: int) -> tuple[Tensor, Tensor, Tensor]:
        """The seeds on the grid, the grown seeds (B, h, w), and the refined probabilities (B, C, h, w)."""
        size = probs.shape[-2:]
        seeds = inference.on_grid(batch["masks"], size)
        refined = probs
        growing = self.grow.enabled and iteration >= self.grow.warmup
        # One CRF result serves the growing and the losses that it is held against.
        wanted = any(loss.target == "refined" for loss in self.losses.values())
        if wanted or (growing and self.grow.on == "crf"):
            pixels = inference.on_grid(batch["images"], size)
            # The CRF takes -log of what it is given: of softmax(p) that is -p, but for a constant.
            unary = probs.softmax(dim=1) if self.crf_unary == "probability" else probs
            refined = dense_crf(unary, pixels, batch["tags"] if self.crf_tags else None, **self.crf)
        grown = seeds
        if growing:
            evidence = refined if self.grow.on == "crf" else probs
            grown = grow_seeds(seeds, evidence, batch["tags"], self.grow.theta_fg, self.grow.theta_bg)
            if "true" in batch:  # a true mask says all that there is to say: its void stays void
                grown = torch.where(batch["true"][:, None, None], seeds, grown)
        return seeds, grown, refined

    @torch.no_grad()
    def pictures(self, model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        """Photograph, seeds, grown seeds and prediction of the batch's first four, side by side, for TensorBoard."""
        batch = {name: tensor[:4] for name, tensor in batch.items()}
        model.eval()
        probs = self.probabilities(model, batch)
        seeds, grown, refined = self.supervision(probs, batch, iteration)
        colours = torch.from_numpy(palette()).to(probs.device)
        labels = torch.stack([seeds.long(), grown.long(), probs.argmax(1), refined.argmax(1)], dim=1)
        size = batch["images"].shape[-2:]
        tiles = colours[inference.on_grid(labels, size)].permute(0, 1, 4, 2, 3)
        tiles = torch.cat([batch["images"][:, None], tiles], dim=1)  # (4, columns, 3, S, S)
        rows, columns, _, height, width = tiles.shape
        grid = tiles.permute(2, 0, 3, 1, 4).reshape(3, rows * height, columns * width)
        return {"photo_seeds_grown_prediction_crf": grid.cpu()}
