"""A run on single photographs: the same labels, seeds and masks as its stages make, from one network pass."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_voc
from PIL import Image

from dsrg import config
from dsrg.app import studio
from dsrg.app.html import colour_scale, legend, percent
from dsrg.app.studio import Studio
from dsrg.data.voc import spread
from dsrg.draw import heatmap
from dsrg.draw.masks import paint_mask
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.run.table import final
from dsrg.stages.cams import make_cams
from dsrg.stages.masks import make_masks
from dsrg.stages.predictions import evaluate
from dsrg.stages.seeds import make_seeds

ROOT = Path(__file__).parents[2]
LABELS = {"a": "cat", "b": "dog;traffic light", "c": "cat dog", "d": "dog"}
SMALL = ("workers=0", "device=cpu", "cam.output_stride=16", "classifier.acol_channels=4", "localize.size=48")
ACOL = ("classifier.head=acol", "seeds.source=acol")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": ("a", "b"), "val": ("c", "d")}
    return make_voc(tmp_path_factory.mktemp("data"), splits, size=(60, 45), labels=LABELS)


def make_run(data: Path, run_dir: Path, *overrides: str, trained: tuple[str, ...] = ()) -> Run:
    """A run of random networks, with a segmentation network for each name in `trained`."""
    words = [f"data.root={data}", f"run_dir={run_dir}", *SMALL, *overrides]
    run = Run(config.load(ROOT / "configs/demo/resnet18.yaml", words))
    torch.manual_seed(0)
    storage.save_checkpoint(run_dir / "classifier/checkpoint.pt", {"model": networks.new_classifier(run).state_dict()})
    for name in trained:
        storage.save_checkpoint(run_dir / name / "checkpoint.pt", {"model": networks.new_deeplab(run).state_dict()})
    return run


def picture_of(run: Run, number: int, split: str = "train") -> tuple[np.ndarray, list[int]]:
    """A photograph and its labels."""
    photo = (run.train if split == "train" else run.val)[number]
    return np.array(Image.open(photo.path)), (np.flatnonzero(photo.tags[1:]) + 1).tolist()


def test_all_sure_labels_are_proposed_and_never_none() -> None:
    assert studio.proposal(np.array([0.9, 0.5, 0.51])) == [1, 3]
    assert studio.proposal(np.array([0.1, 0.3, 0.3])) == [2]


@pytest.mark.parametrize("overrides", [(), ("classifier.loss=single_label",), ACOL])
def test_the_scores_are_those_of_the_classifier(data: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    run = make_run(data, tmp_path, *overrides)
    picture, _ = picture_of(run, 0)
    model = networks.trained_classifier(run)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(pixels, (33, 49), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = model(inference.normalise(small))[0].numpy().astype(np.float64)
    single = "classifier.loss=single_label" in overrides
    expected = np.exp(logits) / np.exp(logits).sum() if single else 1 / (1 + np.exp(-logits))
    assert np.allclose(Studio(run).scores(picture), expected, atol=1e-6)


SEEDS = {
    "cam": (),
    "refined": ("seeds.crf=true", "seeds.thresholds=otsu"),
    "otsu": ("seeds.thresholds=otsu",),
    "power": ("seeds.background=power", "seeds.alpha=2"),
    "grad_cam": ("seeds.source=grad_cam",),
    "acol": ACOL,
}


@pytest.mark.parametrize("overrides", SEEDS.values(), ids=SEEDS)
def test_seeds_are_those_of_the_stage(data: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    run = make_run(data, tmp_path, *overrides)
    make_cams(run)
    make_seeds(run)
    used = Studio(run)
    assert used.remark == ""
    seen: set[int] = set()
    for number, photo in enumerate(run.train):
        picture, labels = picture_of(run, number)
        seeds = used.seeds(picture, used.maps(picture, labels), labels, used.seed_settings)
        assert np.array_equal(seeds, pictures.read_mask(tmp_path / "seeds" / f"{photo.id}.png"))
        seen |= set(np.unique(seeds).tolist())
    assert seen & {1, 2, 3} and seen & {0, 255}


@pytest.mark.parametrize(("overrides", "passes"), [((), 1), (("seeds.source=grad_cam",), 3), (ACOL, 4)])
def test_one_pass_serves_as_many_labels_as_it_can(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], passes: int
) -> None:
    run = make_run(data, tmp_path, *overrides)
    used, (picture, _) = Studio(run), picture_of(run, 0)
    whole, done = inference.activation_maps, 0

    def counted(*arguments: object, **options: object) -> torch.Tensor:
        nonlocal done
        done += 1
        return whole(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(inference, "activation_maps", counted)
    known = None
    for labels in ([1, 2], [2], [3], [2, 3]):
        known = used.maps(picture, labels, known)
        fresh = used.maps(picture, labels)
        done -= 1
        for got, expected in zip(known.of(labels), fresh.of(labels), strict=True):
            assert np.array_equal(got, expected)
        assert known.of(labels)[0].tolist() == labels
    assert done == passes


def test_masks_are_those_of_the_stages(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path, "masks.scales=[1.0]", "masks.size=97", trained=("dsrg",))
    used = Studio(run)
    assert used.network == "dsrg"
    make_masks(run)
    evaluate(run, "dsrg")
    for number in range(2):
        picture, labels = picture_of(run, number)
        made = pictures.read_mask(tmp_path / "masks" / f"{run.train[number].id}.png")
        assert np.array_equal(used.mask(picture, labels, crf=True), made)
        picture, _ = picture_of(run, number, "val")
        predicted = pictures.read_mask(tmp_path / "dsrg/predictions/val" / f"{run.val[number].id}.png")
        assert np.array_equal(used.mask(picture, None, crf=True), predicted)
    plain = networks.probabilities_of(run, networks.trained_deeplab(run, "dsrg"), run.cfg.test)
    probs = plain(torch.from_numpy(picture).permute(2, 0, 1).contiguous())
    assert np.array_equal(used.mask(picture, None, crf=False), probs.argmax(dim=0).numpy())


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (40, 2)])
def test_photographs_of_any_shape(data: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    used = Studio(make_run(data, tmp_path, "seeds.crf=true", trained=("dsrg",)))
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    maps = used.maps(picture, [1, 3])
    assert np.isfinite(used.scores(picture)).all()
    assert used.seeds(picture, maps, [1, 3], used.seed_settings).shape == size
    for crf in (False, True):
        assert set(np.unique(used.mask(picture, [1, 3], crf=crf))) <= {0, 1, 3}
    assert heatmap.paint(studio.enlarged(picture), maps.of([3])[1][0]).max() > 0


def test_the_last_network_makes_the_masks(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path)
    used, (picture, labels) = Studio(run), picture_of(run, 0)
    assert used.network is None
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: no segmentation network is trained")):
        used.mask(picture, labels, crf=False)
    assert final(make_run(data, tmp_path, trained=("dsrg",)).has_network) == "dsrg"
    run = make_run(data, tmp_path, trained=("dsrg", "retrain"))
    assert final(run.has_network) == "retrain"
    run.stage("retrain").begin()  # in training
    assert final(run.has_network) == "dsrg"


def test_thresholds_that_no_stage_has_worked_out_are_told(data: Path, tmp_path: Path) -> None:
    settings, remark = studio.own_thresholds(make_run(data, tmp_path, "seeds.thresholds=otsu"))
    assert (settings.foreground_threshold, settings.background_threshold) == (0.7, 0.08)
    assert "no seeds yet" in remark
    words = ("seeds.background=saliency", f"seeds.saliency_dir={tmp_path}", "seeds.background_threshold=0.9")
    settings, remark = studio.own_thresholds(make_run(data, tmp_path, *words))
    assert (settings.background, settings.background_threshold) == ("cam", 0.7)
    assert "saliency" in remark


def test_sizes_and_examples_are_spread_over_the_split(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path)
    assert studio.usual_long_side(run) == 60
    assert [photo.id for photo in spread(run.val, 5)] == ["c", "d"]
    assert [photo.id for photo in spread(run.val, 1)] == ["c"]
    assert spread(run.val, 0) == []
    broken = make_voc(tmp_path / "broken", size=(60, 45), labels=LABELS)
    (broken / "JPEGImages/a.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.jpg: the photograph cannot be decoded"):
        studio.usual_long_side(make_run(broken, tmp_path))


def test_shares_add_up() -> None:
    labels = np.array([[0, 0, 2], [255, 2, 2]], np.uint8)
    classes, unlabelled = studio.shares(labels, 4)
    assert np.allclose(classes, [2 / 6, 0, 3 / 6, 0])
    assert np.isclose(unlabelled, 1 / 6)


def test_small_pictures_are_enlarged_with_their_labels_on_them() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (50, 100, 3), dtype=np.uint8)
    labels = rng.integers(0, 4, (50, 100), dtype=np.uint8)
    assert studio.enlarged(picture).shape == (250, 500, 3)
    flat = np.full_like(picture, 90)
    assert np.array_equal(studio.painted(flat, labels)[2::5, 2::5], paint_mask(flat, labels))
    large = rng.integers(0, 256, (480, 20, 3), dtype=np.uint8)
    assert studio.enlarged(large) is large


def test_the_legend_names_what_is_there_and_nothing_else() -> None:
    names = ("background", "<b>cat</b>", "dog", "cow", "pig")
    seeds, mask = (np.array([0.2, 0.004, 0, 0, 0]), 0.796), (np.array([0.995, 0, 0, 0.005, 0]), 0.0)
    table = legend(names, {2}, [("seeds", seeds), ("mask", mask)])
    cells = re.findall(r"<t[dh]>(?:<i style='background: rgb\(([\d, ]+)\)'></i>)?(.*?)</t[dh]>", table)
    assert [text for _, text in cells] == [
        *("share of the pixels", "seeds", "mask"),
        *("background", "20 %", "> 99 %"),
        *("&lt;b&gt;cat&lt;/b&gt;", "< 1 %", "0 %"),
        *("dog", "0 %", "0 %"),
        *("cow", "0 %", "< 1 %"),
        *("unlabelled", "80 %", "0 %"),
    ]
    # VOC's colours of the indices 0 to 3, and white
    assert [colour for colour, _ in cells if colour] == [
        "0, 0, 0",
        "128, 0, 0",
        "0, 128, 0",
        "128, 128, 0",
        "255, 255, 255",
    ]
    assert "mask" not in legend(names, {2}, [("seeds", seeds), ("mask", None)])
    assert (percent(0), percent(1), percent(0.5)) == ("0 %", "100 %", "50 %")
    assert "rgb(0, 0, 3)" in colour_scale()
