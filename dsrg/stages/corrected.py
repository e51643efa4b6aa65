"""Masks of all training photographs as the true masks of some have taught to read them: what retraining learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from dsrg import distributed
from dsrg.corrector import GRID, Corrector, Evidence, corrected, correction_loss, evidence, loses_class
from dsrg.data.voc import Photo, read_mask_for
from dsrg.files import pictures, storage
from dsrg.labels import BACKGROUND, IGNORE
from dsrg.run import inference, large, networks
from dsrg.run.folder import Figures, Run
from dsrg.stages.masks import after_crf, measure_masks, saliency_folder, weigher
from dsrg.stages.seeds import saliency_of

FOLDER, NETWORK = "masks", "corrector.pt"
"""In the retraining's folder: the masks, and the corrector."""
STEPS, BATCH, RATE = 300, 8, 3e-3
"""Of the corrector's training: iterations, unless retraining has fewer; photographs of either kind in each; peak
learning rate."""
MOST = 1000
"""Photographs of either kind that it learns from: their evidence is kept in memory meanwhile, some 200 kB each."""


def teaches(run: Run) -> bool:
    """Whether the run's true masks teach it about the others' masks."""
    return run.cfg.corrections.teach and bool(run.true_masks) and not run.stage("masks").foreign


def learnt_masks(run: Run) -> Path:
    """The folder of the masks that the run's retraining learnt from, those that true masks have corrected where there
    are such; of the pseudo-labels where it is not retrained.

    Raises:
        InputError: they are not there, or the retraining is of other settings or data.
    """
    place = run.directory_of("retrain") / FOLDER
    return place if run.stage("retrain").usable and place.is_dir() else run.require("masks")


def correct_masks(run: Run, gather: Gatherer, directory: Path) -> tuple[Path, Figures]:
    """Train the corrector and write directory/masks/<id>.png of every training photograph: what the corrector makes of
    it, its pseudo-label where a class would be lost, or, where there is one, its true mask. What is there stays.

    Args:
        run: The run.
        gather: Gives the evidence of its photographs.
        directory: The retraining's.

    Returns:
        The folder of the masks, and the figures: where ground truth exists, `corrected_masks`, mIoU before and after
        on the photographs without a true mask.
    """
    place = directory / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    if distributed.is_main() and not (directory / NETWORK).is_file():
        model = _train(run, gather)
        storage.save_checkpoint(directory / NETWORK, {"model": model.state_dict()})
    distributed.barrier()
    model = Corrector()
    model.load_state_dict(storage.load_network(directory / NETWORK))
    _write(run, model.to(run.device).eval(), gather, place)
    distributed.barrier()
    others = [photo for photo in run.train if photo.id not in run.true_masks]
    before, after = (measure_masks(run, folder, others).get("masks_miou") for folder in (gather.masks, place))
    return place, {} if before is None else {"corrected_masks": {"miou_before": before, "miou": after}}


def _train(run: Run, gather: Gatherer) -> Corrector:
    """A corrector of the run's true masks; the same whatever ran before."""
    random = np.random.default_rng(run.cfg.seed)
    torch.manual_seed(run.cfg.seed)
    kinds: list[list[Evidence]] = []
    for has_true in (True, False):
        photos = [photo for photo in run.train if (photo.id in run.true_masks) == has_true and len(photo.own)]
        some = [photos[index] for index in random.permutation(len(photos))[:MOST]]
        bar = tqdm(some, f"evidence, {'true' if has_true else 'other'} masks", disable=not distributed.is_main())
        kinds.append([gather(photo) for photo in bar])
    model = Corrector().to(run.device)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-2)
    steps = min(STEPS, run.cfg.retrain.iterations)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    for step in (bar := tqdm(range(steps), "corrector")):
        mirror = random.random() < 0.5
        true, others = ([_turned(kind[i], mirror) for i in _draw(random, len(kind))] for kind in kinds)
        loss = correction_loss(model, true, others, len(run.classes))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}")  # waits for the device
    return model


def _draw(random: np.random.Generator, count: int) -> Sequence[int]:
    return [int(index) for index in random.permutation(count)[:BATCH]]


def _turned(one: Evidence, mirror: bool) -> Evidence:
    return Evidence(one.own, one.channels.flip(-1), one.labels.flip(-1)) if mirror else one


def _write(run: Run, model: Corrector, gather: Gatherer, place: Path) -> None:
    after, crf = after_crf(run), run.cfg.crf.arguments() if run.cfg.masks.crf else None
    todo = [photo for photo in distributed.share(run.train) if not (place / f"{photo.id}.png").is_file()]
    for photo in tqdm(todo, "corrected masks", disable=not distributed.is_main()):
        whole = np.array(pictures.read_image(photo.path))
        mask = gather.labels(photo, whole.shape[:2])
        if photo.id not in run.true_masks:
            pixels = inference.planes(large.copy_of(whole, len(run.classes))).to(run.device)
            scores = corrected(model, gather(photo), len(run.classes))
            probs = inference.enlarge(scores[None], pixels.shape[-2:])[0].softmax(dim=0)
            tags = torch.as_tensor(photo.tags, device=run.device)
            found = inference.to_mask(probs, pixels, tags, crf=crf, crf_tags=run.cfg.crf.tags, size=whole.shape[:2])
            new = found.cpu().numpy()
            new = new if after is None else after(photo, new)
            mask = mask if loses_class(mask, new) else new
        pictures.write_mask(place / f"{photo.id}.png", mask)


class Gatherer:
    """Gives the evidence of a training photograph.

    Args:
        run: With CAMs, where its seeds are cut from some, and a DSRG network that has seen no true mask.
        masks: The folder of its pseudo-labels.

    Raises:
        InputError: the DSRG network, the CAMs or the saliency maps are not there.
    """

    def __init__(self, run: Run, masks: Path) -> None:
        self.masks = masks
        self._run = run
        self._probs_of = networks.probabilities_of(run, networks.trained_deeplab(run, "dsrg"), run.cfg.masks)
        self._weigh = weigher(run)
        self._cams = run.require("cams") if run.needs_maps and not run.stage("seeds").foreign else None
        self._saliency = saliency_folder(run)

    def labels(self, photo: Photo, shape: Sequence[int]) -> np.ndarray:
        """The photograph's true mask where it has one, or else its pseudo-label."""
        path = self._run.true_masks.get(photo.id, pictures.mask_file(self.masks, photo.id))
        return read_mask_for(path, (shape[1], shape[0]), len(self._run.classes), photo.path)

    @torch.no_grad()
    def __call__(self, photo: Photo) -> Evidence:
        """Its labels are the true mask or the pseudo-label, void where a class has no evidence."""
        whole = np.array(pictures.read_image(photo.path))
        pixels = inference.planes(large.copy_of(whole, len(photo.tags))).to(self._run.device)
        probs = self._probs_of(pixels)
        if self._weigh is not None:
            probs = self._weigh(photo, probs)
        size, own = (GRID, GRID), torch.from_numpy(photo.own)
        saliency = None if self._saliency is None else saliency_of(self._saliency, photo, size)[0]
        channels = evidence(
            inference.on_grid(probs, size).cpu(),
            own,
            functional.interpolate(pixels[None].float(), size, mode="area")[0].cpu(),
            self._maps(photo, whole.shape[:2], size),
            saliency,
        )
        labels = inference.on_grid(torch.from_numpy(self.labels(photo, whole.shape[:2])), size)
        # A person may have drawn a class that the image-level labels do not name.
        known = torch.isin(labels, torch.cat([own.new_tensor([BACKGROUND]), own]))
        return Evidence(own, channels, labels.masked_fill(~known, IGNORE))

    def _maps(self, photo: Photo, shape: Sequence[int], size: tuple[int, int]) -> Tensor | None:
        if self._cams is None:
            return None
        classes, maps = storage.read_cams(self._cams / f"{photo.id}.npz", photo.own, shape)
        order = np.argsort(classes)
        return inference.enlarge(torch.from_numpy(maps[order])[None], size)[0]
