"""Seeds and masks from boxes, on the generated demo set: all photographs boxed, or some; no network but a tiny one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_run import make_demo_data, start_demo_run
from helpers import Tool, check_refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from programs.kill_runs import SMALL

from dsrg import box_seeds
from dsrg.app.studio import own_thresholds
from dsrg.boxes import whole_pixels
from dsrg.data.annotations import document, read_boxes_for
from dsrg.data.boxed import write_mask_boxes
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.labels import BACKGROUND, IGNORE, Classes
from dsrg.pipeline import run_pipeline
from dsrg.run import inference
from dsrg.run.boxing import Boxed
from dsrg.run.folder import Run
from dsrg.schema import Boxes, Crf
from dsrg.stages.masks import after_crf, weigher
from dsrg.stages.order import planned
from dsrg.stages.seeds import make_seeds
from dsrg.study.compare_seeds import seed_table

SIZE = 48
CUT = ("seeds.boxes=grabcut", "model.init=weights", "boxes.cuts=2", "crf.iterations=2", "workers=0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=5, val=2, size=SIZE)


@pytest.fixture(scope="module")
def boxes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of all five."""
    out = tmp_path_factory.mktemp("boxes")
    run = start_demo_run(data, out / "run")
    write_mask_boxes(run.folder, run.train, out, 0.01)
    return out


@pytest.fixture
def annotations(boxes: Path, tmp_path: Path) -> Path:
    """A copy of them to be changed."""
    return Path(shutil.copytree(boxes, tmp_path / "annotations"))


def make_run(data: Path, run_dir: Path, annotations: Path, *overrides: object) -> Run:
    return start_demo_run(data, run_dir, f"data.annotations={annotations}", *CUT, *map(str, overrides))


def put_cams(run: Run) -> None:
    """CAMs of the user's, which rise from left to right."""
    for photo in run.train:
        ramp = np.linspace(0, 1, 12, dtype=np.float32)[None, None, :].repeat(12, 1).repeat(len(photo.own), 0)
        storage.write_cams(run.directory / f"cams/{photo.id}.npz", photo.own, ramp)


def seeds_of(run: Run) -> dict[str, np.ndarray]:
    return {photo.id: pictures.read_mask(run.directory / f"seeds/{photo.id}.png") for photo in run.train}


def check_inside(run: Run, found: dict[str, np.ndarray]) -> None:
    """Nothing but background outside of all boxes, and each class inside of its own."""
    for photo in run.train:
        path, seeds = run.folder.annotation_path(photo), found[photo.id]
        own = read_boxes_for(path, seeds.shape[::-1], run.classes, photo.path)
        allowed = box_seeds.allowed(own.classes, whole_pixels(own.boxes, seeds.shape), len(run.classes), seeds.shape)
        assert (seeds[~allowed[1:].any(axis=0)] == BACKGROUND).all()
        for index in range(1, len(run.classes)):
            assert allowed[index][seeds == index].all()


def test_seeds_of_boxes_alone_need_no_classifier(data: Path, tmp_path: Path, boxes: Path) -> None:
    run = make_run(data, tmp_path / "run", boxes)
    assert [name for name in planned(run) if name != "supervised"][:3] == ["seeds", "dsrg", "dsrg predictions"]
    stage = make_seeds(run)
    assert stage.finished
    found = seeds_of(run)
    check_inside(run, found)
    assert stage.figures["seeds"]["supervision"] == "boxes"
    assert stage.figures["seeds"]["foreground_precision"] > 0.7
    assert stage.figures["seeds"]["background_precision"] > 0.9
    assert all((seeds == IGNORE).any() or (seeds != 0).any() for seeds in found.values())
    # A stage that is interrupted makes what is missing, with the same bits, in other processes too.
    lost = stage.directory / f"{run.train[0].id}.png"
    before = lost.read_bytes()
    lost.unlink()
    make_seeds(make_run(data, tmp_path / "run", boxes, "workers=1"))
    assert lost.read_bytes() == before
    # What CAMs would be made with makes no difference, nor where the annotations lie.
    moved = shutil.copytree(boxes, tmp_path / "moved")
    assert make_run(data, tmp_path / "run", moved, "cam.mirror=false", "seed=0").stage("seeds").finished


def test_settings_and_boxes_are_those_of_the_seeds(data: Path, tmp_path: Path, annotations: Path) -> None:
    make_seeds(make_run(data, tmp_path / "run", annotations, "boxes.crf=false"))
    with pytest.raises(InputError, match=r"seeds: was made with boxes\.core = 0\.2, which is now 0\.3"):
        _ = make_run(data, tmp_path / "run", annotations, "boxes.crf=false", "boxes.core=0.3").stage("seeds").finished
    with pytest.raises(InputError, match=r"seeds: was made with seeds\.boxes = grabcut, which is now inner"):
        _ = (
            make_run(data, tmp_path / "run", annotations, "boxes.crf=false", "seeds.boxes=inner")
            .stage("seeds")
            .finished
        )
    run = make_run(data, tmp_path / "run", annotations, "boxes.crf=false")
    path = run.folder.annotation_path(run.train[0])
    path.write_text(path.read_text().replace("<xmax>", "<xmax> "))
    with pytest.raises(InputError, match="the boxes of the training photographs; put the data back as they were"):
        _ = make_run(data, tmp_path / "run", annotations, "boxes.crf=false").stage("seeds").finished


@pytest.mark.parametrize("cue", ["cam", "saliency"])
def test_photographs_without_boxes_keep_seeds_of_maps(data: Path, tmp_path: Path, annotations: Path, cue: str) -> None:
    fixed = ["seeds.thresholds=fixed", "seeds.crf=false", f"seeds.background={cue}", f"seeds.saliency_dir={tmp_path}"]
    plain = start_demo_run(data, tmp_path / "plain", *fixed)
    boxed, *_ = plain.train
    for photo in plain.train:
        if photo.id != boxed.id:
            (annotations / f"{photo.id}.xml").unlink()
        pictures.write_mask(tmp_path / f"{photo.id}.png", np.full((SIZE, SIZE), 9, np.uint8))
    run = make_run(data, tmp_path / "run", annotations, *fixed)
    assert "cams" in planned(run) and "classifier" in planned(run)
    with pytest.raises(InputError, match="cams: is not finished; run dsrg make-seeds first"):
        make_seeds(run)
    for one in (plain, run):
        put_cams(one)
        make_seeds(one)
    found, alone = seeds_of(run), seeds_of(plain)
    for photo in run.train[1:]:
        np.testing.assert_array_equal(found[photo.id], alone[photo.id])
    assert (found[boxed.id] != alone[boxed.id]).any()
    words = {"cam": "tags and boxes", "saliency": "tags, boxes and saliency"}
    assert run.stage("seeds").figures["seeds"]["supervision"] == words[cue]


@pytest.mark.parametrize("way", ["rectangle", "inner"])
def test_the_simple_ways(data: Path, tmp_path: Path, boxes: Path, way: str) -> None:
    run = make_run(data, tmp_path / "run", boxes, f"seeds.boxes={way}", "boxes.crf=false")
    make_seeds(run)
    found = seeds_of(run)
    check_inside(run, found)
    for photo in run.train:
        own = read_boxes_for(run.folder.annotation_path(photo), (SIZE, SIZE), run.classes, photo.path)
        covered = box_seeds.allowed(own.classes, own.boxes.astype(int), len(run.classes), (SIZE, SIZE))[1:].any(axis=0)
        assert (found[photo.id] == IGNORE)[covered].any() == (way == "inner")
        assert (found[photo.id] != BACKGROUND)[covered].all()


def test_boxes_are_checked_before_anything_is_made(data: Path, tmp_path: Path, annotations: Path, tool: Tool) -> None:
    run = make_run(data, tmp_path / "run", annotations)
    photo, name = run.train[0], run.classes.names[int(run.train[0].own[0])]
    path = annotations / f"{photo.id}.xml"
    other = next(label for label in run.classes.foreground if label not in path.read_text())
    whole = path.read_text()
    for content, message in (
        (whole.replace(name, other), rf"{path}: has no box of '{name}', which the photograph's labels name; draw it"),
        (
            whole.replace("</annotation>", document("x", (1, 1), [other], np.array([[1, 1, 2, 2]])).decode()[12:]),
            rf"{path}: has a box of '{other}', not among the photograph's labels; add the label or remove the box",
        ),
        (
            whole.replace("<xmin>", "<xmin>-"),
            rf"{path}: the box -.* does not lie in .*{photo.id}\.\w+, which is 48 x 48",
        ),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            make_run(data, tmp_path / "run", annotations)
    words = (f"data.root={data}", f"data.annotations={annotations}", f"run_dir={tmp_path / 'run'}")
    path.write_text(whole.replace(name, other))
    code, out, _ = tool("check-data", "--cfg", "demo/resnet18", *words)
    assert code == 0
    assert f"warning: {path}: has no box of '{name}'" in out
    empty = tmp_path / "none"
    empty.mkdir()
    result = tool("make-seeds", "--cfg", "demo/resnet18", *words, f"data.annotations={empty}", "seeds.boxes=grabcut")
    check_refusal(result, f"{empty}: holds no annotation of a training photograph")
    assert not (tmp_path / "run").exists()


def test_boxes_of_masks_are_written_once(data: Path, tmp_path: Path, tool: Tool) -> None:
    words = ("make-boxes", "--cfg", "demo/resnet18", f"data.root={data}", "--out", tmp_path / "out")
    code, out, _ = tool(*words)
    assert code == 0
    files = sorted((tmp_path / "out").glob("*.xml"))
    count = sum(path.read_text().count("<object>") for path in files)
    assert len(files) == 5
    assert out == f"{tmp_path / 'out'}: {count} boxes of the 5 photographs of train\n"
    files[0].unlink()
    assert tool(*words)[1] == out  # what an interruption left out is written
    files[1].write_text("<annotation/>")
    check_refusal(tool(*words), files[1], "is there already and says something else; choose another --out")
    check_refusal(tool(*words, "--smallest", "1"), "--smallest 1: must lie between 0 and 1")
    assert files[1].read_text() == "<annotation/>"


def noise_network(run: Run) -> inference.ProbabilitiesOf:
    generator = torch.Generator().manual_seed(0)
    return lambda pixels: torch.rand(len(run.classes), *pixels.shape[1:], generator=generator)


@pytest.mark.parametrize("crf", [None, {"engine": "exact", "iterations": 2}])
def test_masks_keep_each_class_inside_of_its_boxes(
    data: Path, tmp_path: Path, annotations: Path, crf: dict[str, object] | None
) -> None:
    (annotations / f"{start_demo_run(data, tmp_path / 'run').train[-1].id}.xml").unlink()
    run = make_run(data, tmp_path / "run", annotations)
    *boxed, free = run.train

    def masks(out: Path, of: Run) -> dict[str, np.ndarray]:
        inference.write_masks(
            noise_network(of),
            of.train,
            out,
            with_tags=True,
            crf=crf,
            device=of.device,
            workers=0,
            weigh=weigher(of),
            after=after_crf(of),
        )
        return {photo.id: pictures.read_mask(out / f"{photo.id}.png") for photo in of.train}

    found = masks(tmp_path / "kept", run)
    check_inside(dataclasses_run(run, boxed), {photo.id: found[photo.id] for photo in boxed})
    off = make_run(data, tmp_path / "run", annotations, "masks.boxes=false")
    assert after_crf(off) is None and weigher(off) is None
    loose = masks(tmp_path / "loose", off)
    np.testing.assert_array_equal(found[free.id], loose[free.id])
    assert any((found[photo.id] != loose[photo.id]).any() for photo in boxed)
    # Inside of a box the network's word is what it was, where its class may be there.
    photo = boxed[0]
    allowed = box_seeds.allowed(*run.boxed.read(photo, (SIZE, SIZE)), len(run.classes), (SIZE, SIZE))  # type: ignore[union-attr, misc]
    stays = np.take_along_axis(allowed, loose[photo.id][None].astype(int), 0)[0]
    if crf is None:
        np.testing.assert_array_equal(found[photo.id][stays], loose[photo.id][stays])


def dataclasses_run(run: Run, photos: list[object]) -> Run:
    """The run with some of its training photographs alone."""
    run.__dict__["train"] = photos
    return run


def test_a_smaller_copy_is_weighed_by_smaller_boxes(data: Path, tmp_path: Path, boxes: Path) -> None:
    run = make_run(data, tmp_path / "run", boxes)
    photo = run.train[0]
    assert run.boxed is not None
    found = run.boxed.read(photo, (SIZE, SIZE))
    assert found is not None
    weighed = run.boxed.weigh(photo, torch.ones(len(run.classes), SIZE // 4, SIZE // 4))
    for index in range(1, len(run.classes)):
        small = np.zeros((SIZE // 4, SIZE // 4), bool)
        for left, top, right, bottom in found.boxes[found.classes == index]:
            small[top // 4 : -(-bottom // 4), left // 4 : -(-right // 4)] = True
        np.testing.assert_array_equal(weighed[index].numpy(), small)
    assert (weighed[0] == 1).all()


def test_all_ways_are_compared(data: Path, tmp_path: Path, boxes: Path) -> None:
    run = make_run(data, tmp_path / "run", boxes, "boxes.crf=false", "boxes.cuts=1")
    text = seed_table(run, pictures=2)
    assert Image.open(tmp_path / "run/seed_table.png").width > 4 * 48
    rows = disk.read_json(tmp_path / "run/seed_table.json")["seeds"]
    assert list(rows) == ["this configuration (boxes, grabcut)", "boxes, rectangle", "boxes, inner"]
    assert text.count("\n| ") == 3
    expected = make_seeds(run).figures["seeds"]["coverage"]
    assert rows["this configuration (boxes, grabcut)"]["coverage"] == pytest.approx(expected)


def test_a_whole_run_on_boxes(data: Path, tmp_path: Path, boxes: Path) -> None:
    run = make_run(data, tmp_path / "run", boxes, *SMALL, "boxes.crf=false")
    found = run_pipeline(run)
    assert found["seeds"]["supervision"] == "boxes"
    assert "retrain_miou" in found and "classifier_map" not in found and "cam_miou" not in found
    assert (tmp_path / "run/report.html").is_file()
    assert (tmp_path / "run/pictures.png").is_file()
    assert not (tmp_path / "run/classifier").exists()
    check_inside(run, {p.id: pictures.read_mask(tmp_path / f"run/masks/{p.id}.png") for p in run.train})
    _, remark = own_thresholds(run)
    assert remark.startswith("The run cuts seeds from boxes, which a new photograph does not have")


SMALLEST = Boxes(cuts=2, size=24, crf=False)


def boxed(folder: Path, way: str = "grabcut", made_with: Boxes = SMALLEST) -> Boxed:
    return Boxed(folder, Classes(("background", "cat")), way, made_with, Crf(iterations=1, engine="exact"))


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    way=st.sampled_from(["rectangle", "inner", "grabcut"]),
    crf=st.booleans(),
    seed=st.integers(0, 9),
)
def test_any_box_of_any_photograph_has_a_seed_and_none_outside(
    size: tuple[int, int], place: tuple[float, float, float, float], way: str, crf: bool, seed: int
) -> None:
    height, width = size
    left, top = int(place[0] * (width - 1)), int(place[1] * (height - 1))
    right, bottom = left + 1 + int(place[2] * (width - left - 1)), top + 1 + int(place[3] * (height - top - 1))
    box = np.array([left, top, right, bottom])
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    cut = boxed(Path(), way, SMALLEST.model_copy(update={"crf": crf})).cut(picture, box)
    assert cut.shape == (bottom - top, right - left)
    assert (cut == box_seeds.OBJECT).any()
    assert set(np.unique(cut)) <= {BACKGROUND, box_seeds.OBJECT, IGNORE}
    seeds = box_seeds.paint([cut], np.array([1]), box[None], size)
    outside = np.ones(size, bool)
    outside[top:bottom, left:right] = False
    assert (seeds[outside] == BACKGROUND).all()


def test_a_box_of_the_whole_photograph_gives_its_core() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    cut = boxed(Path()).cut(picture, np.array([0, 0, 40, 30]))
    left, top, right, bottom = box_seeds.core_of(np.array([0, 0, 40, 30]), 0.2)
    expected = np.full((30, 40), IGNORE)
    expected[top:bottom, left:right] = box_seeds.OBJECT
    np.testing.assert_array_equal(cut, expected)


def test_an_object_that_fills_its_box_is_taken_whole() -> None:
    picture = np.random.default_rng(0).integers(0, 60, (60, 80, 3)).astype(np.uint8)
    picture[20:40, 25:55] += 180
    for crf in (False, True):
        made_with = Boxes(cuts=3, crf=crf)
        cut = boxed(Path(), made_with=made_with).cut(picture, np.array([25, 20, 55, 40]))
        assert (cut == box_seeds.OBJECT).mean() > 0.8  # the cuts whose edges moved inwards are not sure of the rim
        assert not (cut == BACKGROUND).any()
