"""Weakly supervised localisation: the boxes that a trained classifier's maps give, and how good they are."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from tqdm import tqdm

from dsrg import distributed, explain, tables
from dsrg.boxes import LabelledBoxes, box_iou, map_boxes, mask_boxes
from dsrg.data.annotations import read_boxes_for
from dsrg.data.checked import check_files
from dsrg.data.voc import Photo, read_mask_for
from dsrg.draw import heatmap, tiles
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.models.build import AnyClassifier
from dsrg.run import inference, networks
from dsrg.run.folder import Run, Stage
from dsrg.schema import Localize as LocalizeSettings
from dsrg.study import localize_tables
from dsrg.study.comparison import check_comparable, methods_of, network_names
from dsrg.study.localization import TOPS, GtKnown, MaxBoxAcc, PixelAveragePrecision, Sums, TopErrors, five_boxes

TOP = TOPS[-1]
"""Number of guesses for each photograph: its likeliest classes, and a box for each."""
HEURISTIC = f"top{TOP}_heuristic_error"
BOXES_ARE = "x0, y0, x1, y1 in pixels of the photograph, from 0, half-open: width x1 - x0, height y1 - y0"
UNJUDGED = (240, 228, 66)
"""Colour of a predicted box where there is no truth to judge it by."""


def localize(
    runs: Sequence[Run], methods: Sequence[str] = (), split: str | None = None, pictures: int = 20
) -> dict[str, Any]:
    """Box the objects of a split by each method with each run's classifier, draw some, and measure all.

    Writes, in each run's folder, localize/<split>/<method>/ with boxes.json and pictures/<id>.png, and in the first
    run's localize/<split>/ the three tables of the CAM paper (`dsrg.study.localize_tables`), localize.md and
    localize.json. A method that is finished is not done again; its missing pictures are drawn.

    boxes.json holds method, split, threshold, tight_threshold, what `boxes` are, and `photographs`: for each `image`
    (its id), width, height, and three lists of {label, score, box}: `predicted`, the likeliest classes, likeliest
    first, `heuristic`, the five boxes of `dsrg.study.localization.five_boxes`, and `own`, those of its image-level
    labels. The score is the class's probability.

    Args:
        runs: With trained classifiers, on one data set.
        methods: Some of `tables.MAPS`, all where it is empty; a network does those that it has.
        split: The split; None for the first run's data.val_split.
        pictures: How many photographs to draw, the split's first.

    Returns:
        The content of localize.json.

    Raises:
        InputError: a classifier is not trained, a method is unknown or no network has it, the runs do not fit together,
            a file is missing or broken, or a folder holds what other settings made.
    """
    if pictures < 0:
        raise InputError(f"--pictures {pictures}: give a whole number from 0 on.")
    check_comparable(runs)
    named = zip(runs, network_names(runs), methods_of(runs, methods, list(tables.MAPS), "--methods"), strict=True)
    jobs = [(run, name, method) for run, name, own in named for method in own]
    split = split or runs[0].cfg.data.val_split
    truth = Truth(runs[0], split)
    for run, _, method in jobs:  # before anything is written
        run.require("classifier")
        _ = run.localization(split, method).finished
    rows = []
    for run, name, method in jobs:
        localizer = Localizer(run, method)
        stage = box_photographs(localizer, truth, f"{name}, {method}")
        draw_photographs(localizer, truth, stage, pictures)
        what = {"network": name, "method": method, "run_dir": str(run.directory)}
        thresholds = {name: getattr(run.cfg.localize, name) for name in ("threshold", "tight_threshold")}
        rows.append(what | thresholds | stage.figures)
    results = {
        "split": split,
        "classes": len(runs[0].classes.foreground),
        "photographs": len(truth.photos),
        "truth": truth.source,
        "rows": rows,
    }
    if distributed.is_main():
        directory = runs[0].directory / "localize" / split
        disk.write_json(directory / "localize.json", results)
        text = localize_tables.tables(results)
        disk.write_text(directory / "localize.md", text + "\n")
        print(f"{text}\n\n{directory / 'localize.md'}, localize.json, <method>/boxes.json in each run")
    return results


class Truth:
    """The photographs of a split, and what their true boxes and masks are.

    Args:
        run: Whose data set it is.
        split: The split.

    Raises:
        InputError: a file of the split is missing or broken.
    """

    def __init__(self, run: Run, split: str) -> None:
        self.split = split
        self.photos = run.folder.photos(split)
        self._folder = run.folder
        data = run.cfg.data
        annotated = self._folder.has_boxes(self.photos)
        self._masks = self._folder.has_masks(self.photos)
        self.source = "annotations" if annotated else "masks" if self._masks else None
        """Where the boxes come from; None where there are none."""
        # The training and validation splits' photographs and masks have been read once already, by Run.start.
        if distributed.is_main() and (annotated or split not in (data.train_split, data.val_split)):
            masks = self._folder.mask_dir if self._masks else None
            check_files(self._folder, self.photos, masks=masks, boxes=annotated)
        distributed.barrier()

    def boxes(self, photo: Photo, size: tuple[int, int]) -> LabelledBoxes | None:
        """The true boxes (float64) of the classes that the image-level labels name; None where there is no truth.

        Args:
            photo: The photograph.
            size: Its height and width.
        """
        if self.source == "annotations":
            path = self._folder.annotation_path(photo)
            found = read_boxes_for(path, size[::-1], self._folder.classes, photo.path)
        else:
            mask = self.mask(photo, size)
            if mask is None:
                return None
            found = mask_boxes(mask)
        own = photo.tags[found.classes]
        return LabelledBoxes(found.classes[own], found.boxes[own].astype(np.float64))

    def mask(self, photo: Photo, size: tuple[int, int]) -> np.ndarray | None:
        """The true mask (H, W) of class indices; None where there are none."""
        if not self._masks:
            return None
        return read_mask_for(self._folder.mask_path(photo), size[::-1], len(self._folder.classes), photo.path)


class Boxes(NamedTuple):
    """What the maps of one photograph give, in pixels."""

    loose: np.ndarray
    """(N, 4) int64, one of each of the answer's maps, see `dsrg.boxes.map_boxes`."""
    five: LabelledBoxes
    """The heuristic's choice among the boxes of the likeliest classes, see `dsrg.study.localization.five_boxes`."""


@dataclass(frozen=True)
class Answer:
    """What a classifier says of one photograph and where it looked, class by class."""

    size: tuple[int, int]
    """Height and width of the photograph."""
    classes: np.ndarray
    """(N,) int64, class indices from 1: the likeliest, likeliest first, and then the photograph's own."""
    scores: np.ndarray
    """(N,) their probabilities."""
    maps: Tensor
    """(N, h, w) float32, of any range."""
    guesses: int
    """How many are the likeliest."""

    def boxes(self, settings: LocalizeSettings) -> Boxes:
        """What the maps give."""
        loose = map_boxes(self.maps, self.size, settings.threshold)
        tight = map_boxes(self.maps[: self.guesses], self.size, settings.tight_threshold)
        return Boxes(loose, five_boxes(self.classes[: self.guesses], loose, tight))


class Localizer:
    """A run's trained classifier and one method.

    The photograph enters once, as it is and at `localize.size`: class scores and maps are of the same input.

    - Saliency maps are as they come, noise included, unless localize.saliency_blur smooths them. (Simonyan et al. do
      not cut them at a threshold: that is the method saliency_cut.)
    - ACoL erases the likeliest class for the maps of the likeliest classes, and the photograph's own classes for
      their maps, where the class is given. (The authors' released code erases the true class for both.) The map's
      minimum, which is above 0, is subtracted, as for seeds.

    Args:
        run: The run.
        method: One of `tables.MAPS` that its classifier has.
    """

    def __init__(self, run: Run, method: str) -> None:
        self.run = run
        self.method = method

    @functools.cached_property
    def model(self) -> AnyClassifier:
        """The classifier, read when the first photograph asks for it."""
        return networks.trained_classifier(self.run)

    @torch.no_grad()
    def __call__(self, photo: Photo) -> Answer:
        """Scores and maps of the photograph's likeliest and own classes, each class's map made once."""
        pixels = inference.read_pixels(photo).to(self.run.device)
        (images,) = inference.pyramid(self.model, pixels, (1.0,), self.run.cfg.localize.size, mirror=False)
        with torch.autocast(self.run.device.type, torch.bfloat16, enabled=self.run.cfg.amp):
            logits = self.model(images)[0].float()
            predicted = logits.topk(min(TOP, len(logits))).indices.cpu().numpy()
            own = np.flatnonzero(photo.tags[1:])
            maps = self._maps(images, predicted, own, photo.tags).float()
        single = self.run.cfg.classifier.loss == "single_label"
        probs = (logits.softmax(dim=0) if single else logits.sigmoid()).cpu().numpy()
        columns = np.concatenate([predicted, own])
        height, width = pixels.shape[-2:]
        return Answer((height, width), columns + 1, probs[columns], maps, len(predicted))

    def _maps(self, images: Tensor, predicted: np.ndarray, own: np.ndarray, tags: np.ndarray) -> Tensor:
        """(N, h, w) of the columns `predicted` and `own`."""
        kind, model = tables.MAPS[self.method], self.model
        find = tables.part(kind.place)
        if kind.erases:
            erased = torch.from_numpy(tags)[None].to(images.device)
            given = model.activation_maps(images, erased)[0, own]  # type: ignore[call-arg, operator]  # ACoL's, by methods_of
            maps = torch.cat([_of(find, model, images, predicted), given])
            return maps - maps.amin(dim=(1, 2), keepdim=True)
        columns, back = np.unique(np.concatenate([predicted, own]), return_inverse=True)
        maps = _of(find, model, images, columns)[torch.from_numpy(back)]
        blur = self.run.cfg.localize.saliency_blur
        if self.method == "saliency" and blur:
            smooth = ndimage.gaussian_filter(maps.cpu().numpy(), (0, blur, blur), mode="nearest")
            return torch.from_numpy(smooth).to(images.device)
        return maps


def _of(find: explain.Method, model: nn.Module, images: Tensor, columns: np.ndarray) -> Tensor:
    """The maps of the columns, all of them in one call, for a single image."""
    return find(model, images, torch.from_numpy(columns)[None])[0]


class Measures(Sums):
    """Every figure of the tables. `truth` may lack classes whose pixels a mask leaves void; these are left out."""

    sums = ("top", "five", "known", "box", "pixels")

    def __init__(self, num_classes: int) -> None:
        self.top, self.five, self.known, self.box = TopErrors(), TopErrors(), GtKnown(), MaxBoxAcc()
        self.pixels = PixelAveragePrecision(num_classes)

    def update(self, answer: Answer, boxes: Boxes, truth: LabelledBoxes, mask: np.ndarray | None) -> None:
        """Take in one photograph: the answer, its boxes, the true ones and the mask, where there is one."""
        if not len(truth.classes):
            return
        guesses, own = slice(answer.guesses), slice(answer.guesses, None)
        self.top.update(LabelledBoxes(answer.classes[guesses], boxes.loose[guesses]), truth)
        self.five.update(boxes.five, truth)
        self.known.update(LabelledBoxes(answer.classes[own], boxes.loose[own]), truth)
        maps = inference.enlarge(answer.maps[own][None], answer.size)[0].cpu().numpy()
        for label, score_map in zip(answer.classes[own], maps, strict=True):
            if (truth.classes == label).any():
                self.box.update(score_map, truth.boxes[truth.classes == label])
                if mask is not None:
                    self.pixels.update(score_map, mask, int(label))

    def result(self) -> dict[str, float]:
        """All figures, and `measured`, the number of photographs with a true box; nan where nothing was measured."""
        figures = self.top.result() | self.known.result() | self.box.result() | self.pixels.result()
        if len(self.pixels.counts) - 1 <= TOP:  # all classes are guesses: it would be 0 whatever the network says
            del figures[f"top{TOP}_classification_error"]
        figures[HEURISTIC] = self.five.result()[f"top{TOP}_localization_error"]
        return figures | {"measured": self.top.images}


def box_photographs(localizer: Localizer, truth: Truth, title: str) -> Stage:
    """Write boxes.json of one run and method, see `localize`.

    Figures: truth, where the true boxes come from, and those of `Measures` where there are any.
    """
    run, method = localizer.run, localizer.method
    stage = run.localization(truth.split, method)
    # Masks may have come or gone since; and older versions did not measure the heuristic.
    measured = stage.finished and stage.figures.get("truth") == truth.source
    if measured and (truth.source is None or HEURISTIC in stage.figures):
        return stage
    if stage.foreign:
        raise InputError(f"{stage.directory}: was put there by you (it has no stage.json); move it away first.")
    stage.begin()
    settings, entries, measures = run.cfg.localize, dict[str, Any](), Measures(len(run.classes))
    for photo in tqdm(distributed.share(truth.photos), title, disable=not distributed.is_main()):
        answer = localizer(photo)
        boxes = answer.boxes(settings)
        entries[photo.id] = _entry(photo.id, answer, boxes, run.classes.names)
        true = truth.boxes(photo, answer.size)
        if true is not None:
            measures.update(answer, boxes, true, truth.mask(photo, answer.size))
    total = Measures(len(run.classes))
    for part, others in distributed.gather((measures, entries)):  # every process calls this: it waits for the others
        total += part
        entries |= others
    if distributed.is_main():
        content = {
            "method": method,
            "split": truth.split,
            "threshold": settings.threshold,
            "tight_threshold": settings.tight_threshold,
            "boxes": BOXES_ARE,
            "photographs": [entries[photo.id] for photo in truth.photos],
        }
        disk.write_json(stage.directory / "boxes.json", content)
    stage.finish({"truth": truth.source} | ({} if truth.source is None else total.result()))
    return stage


def _entry(name: str, answer: Answer, boxes: Boxes, names: Sequence[str]) -> dict[str, Any]:
    scores = dict(zip(answer.classes.tolist(), answer.scores.tolist(), strict=True))

    def listed(classes: np.ndarray, found: np.ndarray) -> list[dict[str, Any]]:
        return [
            {"label": names[label], "score": round(scores[label], 6), "box": box}
            for label, box in zip(classes.tolist(), found.tolist(), strict=True)
        ]

    objects = listed(answer.classes, boxes.loose)
    return {
        "image": name,
        "width": answer.size[1],
        "height": answer.size[0],
        "predicted": objects[: answer.guesses],
        "heuristic": listed(*boxes.five),
        "own": objects[answer.guesses :],
    }


def draw_photographs(localizer: Localizer, truth: Truth, stage: Stage, count: int) -> None:
    """Write pictures/<id>.png of the split's first `count` photographs, where it is missing: the likeliest class's heat
    map and box, right or wrong (class, and IoU of at least 0.5), and the true boxes of the photograph's classes."""
    directory = stage.directory / "pictures"
    for photo in distributed.share(truth.photos[:count]):
        path = directory / f"{photo.id}.png"
        if not path.is_file():
            tiles.write_picture(path, Image.fromarray(_picture(localizer(photo), photo, truth, localizer.run)))
    distributed.barrier()


def _picture(answer: Answer, photo: Photo, truth: Truth, run: Run) -> np.ndarray:
    heat = answer.maps[0].relu().cpu().numpy()
    pixels = inference.read_pixels(photo).permute(1, 2, 0).contiguous().numpy()
    picture = heatmap.paint(pixels, heat / (heat.max() or 1))
    box, label = answer.boxes(run.cfg.localize).loose[:1], answer.classes[0]
    title, colour = f"{run.classes.names[label]} {answer.scores[0]:.2f}", UNJUDGED
    true = truth.boxes(photo, answer.size)
    if true is not None and len(true.classes):
        names = [f"true {run.classes.names[own]}" for own in true.classes]
        picture = heatmap.draw_boxes(picture, true.boxes, heatmap.TRUTH, names)
        rivals = true.boxes[true.classes == label]
        right = bool((box_iou(box, rivals) >= 0.5).any())
        verdict = "right" if right else "wrong box" if len(rivals) else "wrong class"
        title, colour = f"{title}, {verdict}", heatmap.RIGHT if right else heatmap.WRONG
    return heatmap.draw_boxes(picture, box, colour, [title])
