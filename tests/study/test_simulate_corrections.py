"""dsrg simulate-corrections: the same masks, retrained with more and more true ones."""

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
from demo_run import make_demo_data
from helpers import Tool, check_refusal
from PIL import Image
from tiny_run import finish_run, make_run

from dsrg.errors import InputError
from dsrg.files import storage
from dsrg.run.folder import Run
from dsrg.study import simulate_corrections
from dsrg.study.pick import rank_photos
from dsrg.study.simulate_corrections import Simulation

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = ("model.init=weights", "test.crf=false", "masks.crf=false", "supervised.enabled=false")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=6, val=3, size=48)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    finish_run(make_run(data, run_dir, *QUICK), data / "SegmentationClass")
    return run_dir


def ids(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.png")}


def test_more_masks_are_added_to_the_same_ones_and_only_retraining_is_repeated(
    data: Path, finished: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shutil.copytree(finished, tmp_path / "run")
    words = ("--cfg", base / "config.yaml", f"run_dir={base}", "--counts", "1", "4", "--seeds", "0")
    code, text, _ = tool("simulate_corrections", *words)
    assert code == 0
    place = base / "corrections/0"
    assert sorted(path.name for path in place.iterdir()) == ["picked-1", "picked-4", "random-1", "random-4"]
    for way in ("picked", "random"):
        one, four = ids(place / f"{way}-1/true"), ids(place / f"{way}-4/true")
        assert (len(one), len(four)) == (1, 4)
        assert one < four
    first = rank_photos(make_run(data, base, *QUICK), 1)[0].photo.id
    assert ids(place / "picked-1/true") == {first}
    assert (place / f"picked-1/true/{first}.png").read_bytes() == (data / f"SegmentationClass/{first}.png").read_bytes()
    for name in ("dsrg/checkpoint.pt", *(f"masks/{one}.png" for one in ids(base / "masks"))):
        assert (place / "picked-4" / name).read_bytes() == (base / name).read_bytes()
    assert (place / "picked-4/retrain/checkpoint.pt").read_bytes() != (base / "retrain/checkpoint.pt").read_bytes()

    results = json.loads((base / "corrections/corrections.json").read_text())
    measured = json.loads((place / "picked-4/predictions/val/stage.json").read_text())["figures"]["retrain_miou"]
    assert results["counts"]["4"]["picked"] == {"0": pytest.approx(measured)}
    gain = measured - results["none"]["0"]
    assert f"| 4 | 66.7% | {measured:.3f} | {gain:+.3f} |  |" in (base / "corrections/corrections.md").read_text()
    assert Image.open(base / "corrections/corrections.png").size[0] > 500
    assert (base / "corrections/corrections.md").read_text().split("\n\n![")[0] in text

    # again, with one more: nothing is trained twice
    made: list[Path] = []
    retrain = simulate_corrections.MAKERS["retrain"]

    def noted(run: Run) -> object:
        if not run.stage("retrain").finished:
            made.append(run.directory)
        return retrain(run)

    monkeypatch.setitem(simulate_corrections.MAKERS, "retrain", noted)  # type: ignore[arg-type]
    assert tool("simulate_corrections", *words[:4], "2", *words[4:])[0] == 0
    assert {path.name for path in made} == {"picked-2", "random-2"}


def test_each_random_seed_has_its_own_full_supervision(data: Path, finished: Path, tool: Tool, tmp_path: Path) -> None:
    base = shutil.copytree(finished, tmp_path / "run")
    words = ("--cfg", base / "config.yaml", f"run_dir={base}", "supervised.enabled=true", "--counts", "2")
    assert tool("simulate_corrections", *words, "--seeds", "0", "1")[0] == 0
    full = json.loads((base / "corrections/corrections.json").read_text())["full"]
    runs = {"0": base, "1": base / "corrections/1/none"}
    for seed, run in runs.items():
        record = json.loads((run / "supervised/predictions/val/stage.json").read_text())
        assert full[seed] == record["figures"]["supervised_miou"]
    assert (base / "corrections/1/random-2/retrain").is_dir()
    mean = statistics.fmean(full.values())
    assert f"| 6, full supervision | 100.0% | {mean:.3f} ± " in (base / "corrections/corrections.md").read_text()


def test_with_corrections_seeds_the_true_masks_teach_dsrg_too(
    data: Path, finished: Path, tool: Tool, tmp_path: Path
) -> None:
    base = shutil.copytree(finished, tmp_path / "run")
    words = ("--cfg", base / "config.yaml", f"run_dir={base}", "--counts", "2")
    assert tool("simulate_corrections", *words)[0] == 0
    code, text, _ = tool("simulate_corrections", *words, "corrections.seeds=true")
    assert code == 0
    assert "corrections.seeds = true" in text
    place = base / "corrections/0"
    for way in ("picked", "random"):
        lent, taught = (storage.load_network(place / f"{way}-2{end}/dsrg/checkpoint.pt") for end in ("", "-seeds"))
        assert any((lent[name] != taught[name]).any() for name in lent)
        assert ids(place / f"{way}-2/true") == ids(place / f"{way}-2-seeds/true")
        assert len(ids(place / f"{way}-2-seeds/masks")) == 6
    both = [json.loads((base / f"corrections/corrections{end}.json").read_text()) for end in ("", "-seeds")]
    assert [one["seeds"] for one in both] == [False, True]
    assert both[0]["none"] == both[1]["none"]


def test_gains_are_those_of_each_random_seed() -> None:
    cells = simulate_corrections._cells({0: 0.5, 1: 0.7}, {0: 0.4, 1: 0.5}, {0: 0.6, 1: 0.9})
    assert cells == "0.600 ± 0.141 | +0.150 ± 0.071 | 50%"
    assert simulate_corrections._cells({0: 0.5}, {0: 0.4, 1: 0.9}, {1: 0.95}) == "0.500 | +0.100 | "
    assert simulate_corrections._cells({0: 0.5}, {0: 0.4}, {0: 0.3}) == "0.500 | +0.100 | "
    assert simulate_corrections._cells({}, {0: 0.4}, {0: 0.3}) == "- | - | "
    assert simulate_corrections._cells({0: 0.49999}, {0: 0.5}, {0: 0.6}) == "0.500 | +0.000 | 0%"


@pytest.mark.parametrize(
    ("counts", "seeds", "named"),
    [([], [0], "--counts"), ([7], [0], "from 1 to 6"), ([2, 2], [0], "none twice"), ([1], [0, 0], "--seeds 0 0")],
)
def test_impossible_numbers_are_refused(
    data: Path, finished: Path, counts: Sequence[int], seeds: Sequence[int], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        Simulation(make_run(data, finished, *QUICK), counts, seeds)


def test_there_must_be_masks_that_stand_for_the_person(data: Path, finished: Path, tool: Tool, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "data")
    shutil.rmtree(root / "SegmentationClass")
    words = ("simulate_corrections", "--cfg", finished / "config.yaml", f"data.root={root}")
    check_refusal(tool(*words), "SegmentationClass: lacks masks of the split train")
    check_refusal(tool(*words, "--counts", "some"), "--counts some: must be a whole number")
