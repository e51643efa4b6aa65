"""True masks of some training photographs: what learns from them, and what notices that they are others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch
from demo_run import make_demo_data
from helpers import Tool, check_refusal

from dsrg.corrector import Corrector, correction_loss
from dsrg.data.mask_folders import compare_folders
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.labels import IGNORE
from dsrg.run.corrections import weight
from dsrg.run.earlier import earlier, keep_retraining
from dsrg.run.folder import Run
from dsrg.schema import Corrections
from dsrg.stages.corrected import Gatherer, learnt_masks, teaches
from dsrg.stages.dsrg import train_dsrg
from dsrg.stages.predictions import evaluate
from dsrg.stages.retrain import retrain

pytestmark = pytest.mark.usefixtures("one_thread")
TRUE = ("corrections.masks=corrected",)
TAUGHT = (*TRUE, "corrections.teach=true")
ALONE = ("model.init=weights", "test.crf=false", "masks.crf=false")
"""No classifier."""


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    return tiny_run.make_run(data, run_dir, *ALONE, *overrides)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=6, val=3, size=48)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    tiny_run.finish_run(make_run(data, run_dir), data / "SegmentationClass")
    return run_dir


@pytest.fixture
def place(data: Path, finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of data set and run, the true masks of two training photographs in the folder corrected/."""
    root, run_dir = shutil.copytree(data, tmp_path / "data"), shutil.copytree(finished, tmp_path / "run")
    for photo in make_run(root, run_dir).train[:2]:
        correct(root, photo.id)
    return root, run_dir


def correct(root: Path, name: str) -> None:
    (root / "corrected").mkdir(exist_ok=True)
    shutil.copyfile(root / "SegmentationClass" / f"{name}.png", root / "corrected" / f"{name}.png")


def weights(folder: Path) -> torch.Tensor:
    model = storage.load_checkpoint(folder / "checkpoint.pt")["model"]
    return torch.cat([tensor.flatten().float() for tensor in model.values()])


def remake(root: Path, run_dir: Path, *overrides: str) -> Run:
    run = make_run(root, run_dir, *overrides)
    keep_retraining(run)
    retrain(run)
    evaluate(run, "retrain")
    return run


def test_without_true_masks_nothing_changes(place: tuple[Path, Path]) -> None:
    root, run_dir = place
    run = make_run(root, run_dir, "corrections.weight=5")
    assert run.stage("retrain").finished and run.stage("predictions").finished
    assert keep_retraining(run) is None


def test_other_true_masks_are_noticed_and_the_old_network_is_kept(place: tuple[Path, Path]) -> None:
    root, run_dir = place
    with pytest.raises(InputError, match=r"corrections\.masks = None, which is now corrected .*dsrg retrain --again"):
        retrain(make_run(root, run_dir, *TRUE))
    before = weights(run_dir / "retrain")
    run = remake(root, run_dir, *TRUE)
    assert not torch.equal(weights(run_dir / "retrain"), before)
    assert run.stage("dsrg").finished and run.stage("masks").finished  # which did not read them
    (kept,) = earlier(run)
    assert torch.equal(weights(kept / "retrain"), before)
    assert (kept / "predictions/val/stage.json").is_file()

    two = weights(run_dir / "retrain")
    correct(root, run.train[2].id)
    changed = make_run(root, run_dir, *TRUE)
    for stage in ("retrain", "predictions"):
        with pytest.raises(InputError, match=r"the true masks in corrections\.masks \(2 then, 3 now\)"):
            _ = changed.stage(stage).finished
    remake(root, run_dir, *TRUE)
    assert [path.name for path in earlier(run)] == ["1", "2"]
    assert not torch.equal(weights(run_dir / "retrain"), two)

    # another mask of the same photographs, and another weight
    path = root / "corrected" / f"{run.train[0].id}.png"
    mask = pictures.read_mask(path)
    mask[0, 0] = 1 - min(mask[0, 0], 1)
    pictures.write_mask(path, mask)
    with pytest.raises(InputError, match=r"data have changed since it was made: the true masks in corrections\.masks;"):
        retrain(make_run(root, run_dir, *TRUE))
    pictures.write_mask(path, pictures.read_mask(root / "SegmentationClass" / path.name))
    with pytest.raises(InputError, match=r"corrections\.weight = None, which is now 3"):
        retrain(make_run(root, run_dir, *TRUE, "corrections.weight=3"))


def test_a_kill_between_the_two_folders_loses_nothing(
    place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, run_dir = place
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.name == "retrain":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            keep_retraining(make_run(root, run_dir, *TRUE))
    run = remake(root, run_dir, *TRUE)
    assert [path.name for path in earlier(run)] == ["1"]
    assert (run_dir / "earlier/1/predictions/val/stage.json").is_file()


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(place: tuple[Path, Path], tmp_path: Path) -> None:
    root, run_dir = place
    shutil.rmtree(run_dir / "retrain")
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    overrides = (*TRUE, "corrections.weight=3")
    retrain(make_run(root, run_dir, *overrides))
    torch.manual_seed(9)
    from dsrg.run import engine

    save = engine._save

    def stop(path: Path, model: torch.nn.Module, course: object, device: object, done: int, log: object) -> None:
        save(path, model, course, device, done, log)  # type: ignore[arg-type]
        if done == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            retrain(make_run(root, copy, *overrides))
    run = make_run(root, copy, *overrides)
    assert keep_retraining(run) is None  # it is no other training
    retrain(run)
    assert torch.equal(weights(copy / "retrain"), weights(run_dir / "retrain"))


def masks_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_true_masks_teach_what_the_others_lack(place: tuple[Path, Path], tmp_path: Path) -> None:
    root, run_dir = place
    alone = remake(root, shutil.copytree(run_dir, tmp_path / "alone"), *TRUE)
    assert not (alone.directory / "retrain/masks").exists()
    run = remake(root, run_dir, *TAUGHT)
    learnt, before = masks_of(run_dir / "retrain/masks"), masks_of(run_dir / "masks")
    assert learnt.keys() == before.keys() == {f"{photo.id}.png" for photo in run.train}
    for photo in run.train[:2]:
        mask = pictures.read_mask(run_dir / f"retrain/masks/{photo.id}.png")
        assert (mask == pictures.read_mask(root / f"corrected/{photo.id}.png")).all()
    found = run.stage("retrain").figures["corrected_masks"]
    others = [photo.id for photo in run.train[2:]]
    for key, folder in (("miou_before", run_dir / "masks"), ("miou", run_dir / "retrain/masks")):
        expected = compare_folders(folder, root / "SegmentationClass", run.classes, others, 1).mean_iou()
        assert found[key] == pytest.approx(expected)
    assert not torch.equal(weights(run_dir / "retrain"), weights(alone.directory / "retrain"))
    assert learnt_masks(run) == run_dir / "retrain/masks"
    assert learnt_masks(alone) == alone.directory / "masks"


def test_what_a_person_drew_beyond_the_labels_is_not_held_against_the_corrector(place: tuple[Path, Path]) -> None:
    root, run_dir = place
    run = make_run(root, run_dir, *TAUGHT)
    photo = run.train[0]
    foreign = next(index for index in range(1, len(run.classes)) if not photo.tags[index])
    path = root / f"corrected/{photo.id}.png"
    mask = pictures.read_mask(path)
    mask[:24] = foreign
    pictures.write_mask(path, mask)
    gather = Gatherer(run, run_dir / "masks")
    one = gather(photo)
    assert not (one.labels == foreign).any() and (one.labels[:40] == IGNORE).all()
    assert correction_loss(Corrector(), [one], [gather(run.train[3])], len(run.classes)) < 50
    assert (gather.labels(photo, mask.shape) == mask).all()  # the mask that retraining learns is whole


def test_masks_that_are_half_corrected_are_finished_with_the_same_corrector(
    place: tuple[Path, Path], tmp_path: Path
) -> None:
    root, run_dir = place
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    whole = remake(root, run_dir, *TAUGHT)
    write = pictures.write_mask

    def stop(path: Path, mask: np.ndarray) -> None:
        if len(masks_of(path.parent)) == 3:
            raise KeyboardInterrupt
        write(path, mask)

    run = make_run(root, copy, *TAUGHT)
    keep_retraining(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dsrg.stages.corrected.pictures.write_mask", stop)
        with pytest.raises(KeyboardInterrupt):
            retrain(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dsrg.stages.corrected._train", None)  # is not trained again
        retrain(make_run(root, copy, *TAUGHT))
    assert masks_of(copy / "retrain/masks") == masks_of(run_dir / "retrain/masks")
    assert torch.equal(weights(copy / "retrain"), weights(whole.directory / "retrain"))


def test_without_true_masks_nothing_is_taught(place: tuple[Path, Path]) -> None:
    assert not teaches(make_run(*place, "corrections.teach=true"))
    assert teaches(make_run(*place, *TAUGHT))


def test_masks_of_somebody_else_are_not_corrected(place: tuple[Path, Path], tmp_path: Path) -> None:
    root, run_dir = place
    other = tmp_path / "other"
    shutil.copytree(run_dir / "masks", other / "masks")
    (other / "masks/stage.json").unlink()
    run = make_run(root, other, *TAUGHT, "retrain.distill=0", "retrain.start=fresh")
    retrain(run)
    assert not (other / "retrain/masks").exists() and learnt_masks(run) == other / "masks"


def test_dsrg_takes_them_where_it_is_told_to(place: tuple[Path, Path], tmp_path: Path) -> None:
    root, run_dir = place
    with pytest.raises(InputError, match=r"dsrg: was made with corrections\.seeds = False, which is now True"):
        train_dsrg(make_run(root, run_dir, *TRUE, "corrections.seeds=true"))
    other = tmp_path / "other"
    shutil.copytree(run_dir / "seeds", other / "seeds")
    run = make_run(root, other, *TRUE, "corrections.seeds=true")
    train_dsrg(run)
    assert not torch.equal(weights(other / "dsrg"), weights(run_dir / "dsrg"))
    correct(root, run.train[2].id)
    with pytest.raises(InputError, match=r"2 then, 3 now.*choose another run_dir"):
        train_dsrg(make_run(root, other, *TRUE, "corrections.seeds=true"))
    with pytest.raises(InputError, match=r"corrections\.seeds = True, which is now False"):
        train_dsrg(make_run(root, other, *TRUE))


def test_what_does_not_fit_is_refused_before_anything_is_made(
    place: tuple[Path, Path], tool: Tool, tmp_path: Path
) -> None:
    root, run_dir = place
    run = make_run(root, run_dir)
    words = ["--cfg", run_dir / "config.yaml", f"run_dir={run_dir}", f"data.root={root}"]
    path = root / "corrected" / f"{run.train[0].id}.png"
    check_refusal(
        tool("retrain", *words, "corrections.masks=none"), "none: holds no true mask of a training photograph"
    )
    pictures.write_mask(path, np.full((48, 48), 9, np.uint8))
    check_refusal(tool("retrain", *words, "corrections.masks=corrected"), path.name)
    pictures.write_mask(path, np.ones((20, 20), np.uint8))
    check_refusal(tool("retrain", *words, "corrections.masks=corrected", "--again"), path.name, "20 x 20")
    assert run.stage("retrain").finished


@pytest.mark.parametrize(
    ("true", "others", "times"), [(1, 1000, 40), (30, 1181, 40), (120, 1091, 10), (5, 5, 1), (9, 0, 1)]
)
def test_true_masks_are_half_of_what_is_drawn_and_none_more_than_forty_times(
    true: int, others: int, times: int
) -> None:
    assert weight(Corrections(), true, others) == times
    assert weight(Corrections(weight=3), true, others) == 3
