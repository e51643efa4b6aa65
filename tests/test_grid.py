"""Sizes on a network's grid, and that what a cell says lands on the pixel that the cell saw."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_voc
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dsrg import config, grid
from dsrg.app.studio import Studio
from dsrg.files import storage
from dsrg.labels import Classes
from dsrg.models.backbone import OUTPUT_STRIDES, Backbone
from dsrg.predict.export import PixelsToMask
from dsrg.predict.segmenter import Segmenter, Settings
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.stages.cams import make_cams
from dsrg.stages.masks import make_masks
from dsrg.stages.predictions import evaluate
from dsrg.study.compare_masks import mask_table
from dsrg.study.failures import show_failures
from dsrg.study.localize import localize
from dsrg.study.probe import Probe, run_probe
from dsrg.study.show_cams import show_cams
from dsrg.study.show_units import show_units

STRIDES = st.sampled_from(OUTPUT_STRIDES)
PRESET = Path(__file__).parents[1] / "configs/demo/resnet18.yaml"


@given(side=st.floats(1, 5000), stride=STRIDES)
def test_nearest_fits_and_is_nearest(side: float, stride: int) -> None:
    found = grid.nearest(side, stride)
    assert found >= grid.SMALLEST
    assert grid.fits(found, stride)
    assert abs(found - 1 - side) <= stride / 2 or found == grid.SMALLEST
    if stride == 8:  # as before there were other strides
        assert found == max(33, 8 * round(side / 8) + 1)


@pytest.mark.parametrize("stride", OUTPUT_STRIDES)
def test_whole_numbers_give_the_same_sides(stride: int) -> None:
    sides = range(grid.SMALLEST - 1, 3000)
    assert [grid.nearest_of_whole(side, stride) for side in sides] == [grid.nearest(side, stride) for side in sides]


@given(side=st.integers(1, 5000), longest=st.integers(1, 5000), size=st.integers(33, 4097), stride=STRIDES)
def test_shares_are_rounded_as_their_exact_fractions_are(side: int, longest: int, size: int, stride: int) -> None:
    expected = stride * round(Fraction(side * size, longest * stride)) + 1
    assert grid.nearest_of_share(side, longest, size, stride) == expected


@pytest.mark.parametrize("stride", OUTPUT_STRIDES)
def test_halves_go_to_the_even_cell(stride: int) -> None:
    found = [grid.nearest_of_share(side, 2, stride, stride) // stride for side in range(1, 12, 2)]
    assert found == [0, 2, 2, 4, 4, 6]


@given(side=st.integers(34, 2000), stride=STRIDES)
def test_neighbours_enclose(side: int, stride: int) -> None:
    if not grid.fits(side, stride):
        below, above = grid.neighbours(side, stride)
        assert grid.SMALLEST <= below < side < above == below + stride
        assert grid.fits(below, stride)
        assert grid.fits(above, stride)


class LoneCell(nn.Module):
    """A network that is sure of class 1 in one cell, and of the background in all others, mirrored as its input is.

    It tells the mirror image by its place in the batch.
    """

    def __init__(self, stride: int, place: tuple[float, float]) -> None:
        super().__init__()
        self.output_stride = stride
        self.place = place
        self.seen: tuple[int, int] = (0, 0)
        """Height and width of the last input."""
        self.pixel = (0, 0)
        """Row and column of the bright cell's pixel in it."""

    def cells(self, images: Tensor) -> Tensor:
        """(B, h, w) bool: the bright cell."""
        self.seen = (images.shape[2], images.shape[3])
        height, width = ((side - 1) // self.output_stride + 1 for side in self.seen)
        row, column = (round(share * (count - 1)) for share, count in zip(self.place, (height, width), strict=True))
        self.pixel = (row * self.output_stride, column * self.output_stride)
        bright = torch.zeros(len(images), height, width, dtype=torch.bool)
        bright[0, row, column] = True
        bright[1:, row, width - 1 - column] = True
        return bright

    def forward(self, images: Tensor) -> Tensor:
        bright = self.cells(images).float()
        return 8 * torch.stack([1 - bright, bright], dim=1)

    def activation_maps(self, images: Tensor) -> Tensor:
        return self.cells(images).float()[:, None]


def check_place(found: Tensor, network: LoneCell, shape: tuple[int, int]) -> None:
    """The peak of `found` (H', W') is where the bright cell's pixel was in a photograph of `shape` (H, W).

    The pixel's place is that of its centre, as the photograph was resized: half a pixel of the coarser of the two
    conventions is allowed, and the peak's own rounding.
    """
    peak = divmod(int(found.argmax()), found.shape[1])
    for place, count, pixel, seen, side in zip(peak, found.shape, network.pixel, network.seen, shape, strict=True):
        expected = (pixel + 0.5) * side / seen - 0.5
        step = (side - 1) / (count - 1)  # pixels of the photograph for one of `found`
        assert abs(place * step - expected) <= 0.5 * abs(side / seen - 1) + 0.5 * step + 0.51


PLACE = st.tuples(st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
SIDES = st.integers(50, 400)


@settings(max_examples=60, deadline=None)
@given(
    stride=STRIDES, height=SIDES, width=SIDES, place=PLACE,
    scale=st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5, 2.0]), mirror=st.booleans(),
    merge=st.sampled_from(["probabilities", "logits"]),
)  # fmt: skip
def test_a_lone_bright_cell_lands_on_its_pixel(
    stride: int, height: int, width: int, place: tuple[float, float], scale: float, mirror: bool, merge: str
) -> None:
    network, shape = LoneCell(stride, place), (height, width)
    pixels = torch.zeros(3, height, width, dtype=torch.uint8)
    how = {"scales": (scale,), "size": None, "mirror": mirror}
    check_place(inference.predict_probs(network, pixels, merge=merge, **how)[1], network, shape)
    cams = inference.activation_maps(network, pixels, torch.tensor([True, True]), **how)
    check_place(cams[0], network, shape)
    classes = Classes(("background", "cat"), "here")
    named = Settings(scales=(scale,), mirror=mirror, merge=merge)
    segmenter = Segmenter(network, classes, torch.device("cpu"), named, architecture={}, record={})  # type: ignore[arg-type]
    (probs,) = segmenter.probabilities([np.zeros((height, width, 3), np.uint8)])
    check_place(probs[1], network, shape)
    assert segmenter.network_sizes(shape) == (network.seen,)
    _, exported = PixelsToMask(network)(torch.zeros(1, height, width, 3, dtype=torch.uint8))  # type: ignore[arg-type]
    check_place(exported[0, 1], network, shape)


def test_a_network_that_does_not_say_its_stride_gets_sizes_that_fit_all() -> None:
    for height, width in inference.network_sizes(nn.Identity(), (375, 500), (0.5, 1, 1.25), None):
        assert all(grid.fits(side, stride) for side, stride in itertools.product((height, width), OUTPUT_STRIDES))


# --- every door


def make_run(root: Path, cells: int) -> Run:
    """A run of random networks on photographs whose sides are on no grid; CAMs and masks have a stride of `cells`."""
    data = make_voc(root / "data", {"train": ("a", "b", "c"), "val": ("d",)}, size=(107, 76))
    words = [
        *(f"data.root={data}", f"run_dir={root / 'run'}", "workers=0", "device=cpu"),
        *("classifier.size=41", "classifier.output_stride=8", f"cam.output_stride={cells}", "cam.scales=[1.0, 1.3]"),
        *(f"model.output_stride={cells}", "dsrg.size=97", "retrain.size=97"),
        *("masks.scales=[1.0, 0.8]", "masks.size=null", "test.size=null", "crf.iterations=1"),
    ]
    run = Run(config.load(PRESET, words))
    torch.manual_seed(0)
    classifier = networks.new_classifier(run).state_dict()
    storage.save_checkpoint(run.directory / "classifier/checkpoint.pt", {"model": classifier})
    for name in ("dsrg", "retrain"):
        storage.save_checkpoint(
            run.directory / name / "checkpoint.pt", {"model": networks.new_deeplab(run).state_dict()}
        )
    return run


@pytest.mark.parametrize("cells", [16, 32])
def test_every_door_shows_its_network_sizes_on_the_grid(
    cells: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, cells)
    seen: list[tuple[int, int]] = []
    forward = Backbone.forward

    def watched(self: Backbone, images: Tensor) -> Tensor:
        assert self.output_stride == cells
        assert all(grid.fits(side, cells) for side in images.shape[-2:]), tuple(images.shape)
        seen.append((images.shape[2], images.shape[3]))
        return forward(self, images)

    monkeypatch.setattr(Backbone, "forward", watched)
    picture = np.zeros((77, 130, 3), np.uint8)
    (labels := tmp_path / "labels.csv").write_text("image,labels\na.jpg,x\nb.jpg,y\nc.jpg,x\nd.jpg,y\n")
    probe = Probe(labels, run.folder.root / "JPEGImages", weights="classifier", held_out=0.3, c=1.0, count=1)
    doors = {
        "cams": lambda: make_cams(run),
        "masks": lambda: make_masks(run),
        "mask table": lambda: mask_table(run),
        "predictions": lambda: evaluate(run, "retrain"),
        "localize": lambda: localize([run], ("cam",)),
        "show_cams": lambda: show_cams(run),
        "show_units": lambda: show_units(run, "cat", 1, 1),
        "failures": lambda: show_failures(run),
        "page, scores": lambda: Studio(run).scores(picture),
        "page, maps": lambda: Studio(run).maps(picture, [1]),
        "page, mask": lambda: Studio(run).mask(picture, None, crf=False),
        "probe": lambda: run_probe(run.cfg, probe),
    }
    for name, door in doors.items():
        seen.clear()
        door()
        assert seen, name
