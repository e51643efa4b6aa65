"""The ablation on a handful of generated photographs: what is shared, trained, skipped, continued and refused."""

import dataclasses
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_run import make_demo_data, start_demo_run
from PIL import Image

from dsrg import config
from dsrg.__main__ import main
from dsrg.draw import chart
from dsrg.errors import InputError
from dsrg.pipeline import run_pipeline
from dsrg.run import engine
from dsrg.run.folder import Run
from dsrg.stages.dsrg import DsrgStep, train_dsrg
from dsrg.stages.masks import make_masks
from dsrg.study.ablate import Ablation, Row, variants
from dsrg.study.examples import draw_grid, examples

ROOT = Path(__file__).parents[2]
QUICK = (
    *("workers=0", "model.backbone=mobilenet_v2", "cam.scales=[1.0]", "masks.size=33", "test.size=33"),
    *("grow.on=softmax", "grow.warmup=0", "crf.iterations=2"),
    *(
        f"{section}.{setting}"
        for section in ("classifier", "dsrg", "retrain")
        for setting in ("iterations=2", "batch=2", "size=33", "log_every=1", "optimizer=sgd", "warmup=0")
    ),
    # Large steps, for two of them to change what a random network answers.
    *("dsrg.lr=0.1", "dsrg.last_multiplier=1", "retrain.lr=0.1", "retrain.last_multiplier=1"),
)
FOLDERS = ("seed_loss", "boundary_loss", "grow_softmax", "grow_crf", "gate", "supervised")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=4, val=2, size=48)


def settings(data: Path, run_dir: Path, *overrides: str) -> list[str]:
    return [f"data.root={data}", f"run_dir={run_dir}", *QUICK, *overrides]


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    return start_demo_run(data, run_dir, *QUICK, *overrides)


def stamps(run_dir: Path) -> dict[Path, int]:
    """When each file was written, the ablation's table and chart left out."""
    files = [path for path in run_dir.rglob("*") if path.is_file() and path.stem != "ablation"]
    return {path: path.stat().st_mtime_ns for path in files}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ablation of two random seeds whose shared run has one of its own, 5."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dsrg.study.ablate.chart.draw_bars", lambda *_: None
        )  # thirteen charts take three seconds; other tests draw
        Ablation(make_run(data, run_dir, "seed=5"), (0, 1)).run()
    return run_dir


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_shared_stages_are_made_once(finished: Path) -> None:
    assert {path.parent for path in finished.rglob("classifier")} == {finished}
    assert {path.parent for path in finished.rglob("cams")} == {finished}
    assert {path.parent for path in finished.rglob("seeds")} == {finished}
    shared = [path for name in ("classifier", "cams", "seeds") for path in (finished / name).rglob("*")]
    first = min(path.stat().st_mtime_ns for path in (finished / "ablation").rglob("dsrg/stage.json"))
    assert max(path.stat().st_mtime_ns for path in shared) < first
    assert {path.name for path in finished.iterdir() if path.is_dir()} == {"classifier", "cams", "seeds", "ablation"}


def test_each_variant_has_its_settings_and_its_random_seed(finished: Path) -> None:
    assert {path.name for path in (finished / "ablation").iterdir() if path.is_dir()} == set(FOLDERS)
    expected = {
        "seed_loss": (False, False, "softmax"),  # grow.on is the configuration's where nothing grows
        "boundary_loss": (True, False, "softmax"),
        "grow_softmax": (True, True, "softmax"),
        "grow_crf": (True, True, "crf"),
    }
    for folder in FOLDERS:
        for seed in (0, 1):
            run_dir = finished / "ablation" / folder / str(seed)
            cfg = config.load(run_dir / "config.yaml")
            assert (cfg.seed, cfg.run_dir, cfg.shared) == (seed, run_dir, finished)
            if folder in expected:
                assert (cfg.losses.boundary, cfg.grow.enabled, cfg.grow.on) == expected[folder]
                recorded = read(run_dir / "dsrg/stage.json")["settings"]
                assert (recorded["seed"], recorded["shared.seed"]) == (seed, 5)
                logged = json.loads((run_dir / "dsrg/metrics.jsonl").read_text().splitlines()[0])
                assert ("boundary_loss" in logged) == cfg.losses.boundary


def test_only_the_runs_that_grow_as_configured_are_retrained(finished: Path) -> None:
    trained = [path for path in finished.rglob("retrain") if path.parents[1].name != "gate"]
    assert {path.parents[1].name for path in trained} == {"grow_softmax"}
    assert {path.parents[1].name for path in finished.rglob("masks")} == {"grow_softmax"}


def test_a_part_that_the_configuration_switches_off_is_in_the_table_all_the_same() -> None:
    cfg = config.load(ROOT / "configs/demo/resnet18.yaml", ["losses.boundary=false", "grow.enabled=false"])
    changed = {variant.name: config.change(cfg, variant.settings) for variant in variants(cfg)}
    assert [c.losses.boundary for c in changed.values()] == [False, True, True, True, True, True, False]
    assert [c.grow.enabled for c in changed.values()] == [False, False, True, True, True, True, False]
    assert {variant.name: variant.folder for variant in variants(cfg)}["retraining"] == "grow_crf"


def test_the_table_holds_the_stages_figures(finished: Path) -> None:
    places = {
        "seed_loss": ("seed_loss", "dsrg/predictions/val", "dsrg_miou"),
        "boundary_loss": ("boundary_loss", "dsrg/predictions/val", "dsrg_miou"),
        "grow_softmax": ("grow_softmax", "dsrg/predictions/val", "dsrg_miou"),
        "grow_crf": ("grow_crf", "dsrg/predictions/val", "dsrg_miou"),
        "retraining": ("grow_softmax", "predictions/val", "retrain_miou"),
        "gate": ("gate", "predictions/val", "retrain_miou"),
        "supervised": ("supervised", "supervised/predictions/val", "supervised_miou"),
    }
    values = {
        name: [read(finished / "ablation" / folder / seed / stage / "stage.json")["figures"][key] for seed in "01"]
        for name, (folder, stage, key) in places.items()
    }
    cam = read(finished / "cams/stage.json")["figures"]["cam_miou"]
    values["ratio"] = [a / b for a, b in zip(values["retraining"], values["supervised"], strict=True)]
    results = read(finished / "ablation/ablation.json")
    assert list(results["rows"]) == ["cam", *values]
    assert results["rows"].pop("cam")["values"] == {"5": cam}
    for name, row in results["rows"].items():
        assert row["values"] == dict(zip("01", values[name], strict=True)), name
        assert row["mean"] == pytest.approx(sum(values[name]) / 2)
        assert row["deviation"] == pytest.approx(abs(values[name][0] - values[name][1]) / 2**0.5)
    above = {"boundary_loss": "seed_loss", "grow_softmax": "boundary_loss", "grow_crf": "boundary_loss"}
    above |= {"retraining": "grow_softmax", "gate": "retraining", "supervised": "retraining"}
    gains = {name: [a - b for a, b in zip(values[name], values[other], strict=True)] for name, other in above.items()}
    assert {n: list(row["gains"].values()) for n, row in results["rows"].items() if row["gains"]} == gains

    def spread(pair: list[float], form: str) -> str:
        return f"{statistics.mean(pair):{form}} ± {statistics.stdev(pair):.3f}"

    lines = (finished / "ablation/ablation.md").read_text().splitlines()
    assert [[line.split("|")[column].strip() for column in (2, 3, 5)] for line in lines[2:11]] == [
        [f"{cam:.3f} (train)", "", "1"],
        *(
            [spread(pair, ".3f"), spread(gains[name], "+.3f") if name in gains else "", "2"]
            for name, pair in values.items()
        ),
    ]
    own = results["runs"]["grow_softmax"]["1"]
    assert own["figures"].keys() >= {"dsrg_miou", "dsrg_iou", "masks_miou", "retrain_miou"}
    assert list(own["seconds"]) == ["dsrg", "dsrg predictions", "masks", "retrain", "predictions"]
    assert results["shared"]["figures"]["seeds"]["coverage"] > 0


def test_the_same_command_again_does_nothing(
    data: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, results = stamps(finished), read(finished / "ablation/ablation.json")
    words = ["--cfg", str(ROOT / "configs/demo/resnet18.yaml"), "--seeds", "0", "1"]
    assert main(["ablate", *words, *settings(data, finished, "seed=5")]) == 0  # after --seeds, as the usage has it
    assert stamps(finished) == before
    assert read(finished / "ablation/ablation.json") == results
    with Image.open(finished / "ablation/ablation.png") as picture:
        assert picture.size == tuple(int(side * chart.DPI) for side in chart.SIZE)
    out = capsys.readouterr().out
    assert out.count("finished already") == 15  # the shared stages, and seven variants of two random seeds
    assert "[14/14] fully supervised, random seed 1" in out
    assert (finished / "ablation/ablation.md").read_text().splitlines()[4] in out


def test_an_interrupted_ablation_shows_what_it_has_and_continues(
    data: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {path: path.read_bytes() for path in copy.rglob("dsrg/metrics.jsonl")}
    kept = stamps(copy / "ablation/seed_loss/0")
    for folder in FOLDERS[1:]:
        shutil.rmtree(copy / "ablation" / folder)
    shutil.rmtree(copy / "ablation/seed_loss/1")

    def dying(self: DsrgStep, model: object, batch: object, iteration: int) -> object:
        if "boundary" in self.losses and iteration == 1:
            raise KeyboardInterrupt
        return original(self, model, batch, iteration)  # type: ignore[arg-type]

    original = DsrgStep.__call__
    with monkeypatch.context() as patch:
        patch.setattr(DsrgStep, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            Ablation(make_run(data, copy, "seed=5", "dsrg.checkpoint_every=1"), (0, 1)).run()
    rows = read(copy / "ablation/ablation.json")["rows"]
    assert {name: len(row["values"]) for name, row in rows.items() if row["values"]} == {"cam": 1, "seed_loss": 1}
    assert (
        (copy / "ablation/ablation.md")
        .read_text()
        .splitlines()[4]
        .endswith("| + boundary loss | - |  | seed loss | - |")
    )
    assert not (copy / "ablation/seed_loss/1").exists()  # the second random seed comes after the whole first one

    starts = []
    resume = engine._resume
    monkeypatch.setattr(engine, "_resume", lambda *given: starts.append(resume(*given)) or starts[-1])
    Ablation(make_run(data, copy, "seed=5"), (0, 1), ["seed_loss", "boundary_loss"]).run()
    assert starts == [1]  # one training went on from its first iteration
    assert stamps(copy / "ablation/seed_loss/0") == kept
    done = {path for path in ends if "loss" in str(path)}
    assert {path: path.read_bytes() for path in done} == {path: ends[path] for path in done}
    assert not (copy / "ablation/grow_softmax").exists()  # --only leaves the others alone


def test_other_settings_are_refused_before_anything_is_written(data: Path, finished: Path) -> None:
    before, table = stamps(finished), (finished / "ablation/ablation.json").stat().st_mtime_ns
    for override, folder in (
        ("classifier.lr=0.5", finished / "classifier"),
        ("seeds.foreground_threshold=0.9", finished / "seeds"),
        ("dsrg.lr=0.5", finished / "ablation/seed_loss/0/dsrg"),
        ("masks.crf=false", finished / "ablation/grow_softmax/0/"),
    ):
        with pytest.raises(InputError, match=rf"{folder}.* made with {override.partition('=')[0]} = "):
            Ablation(make_run(data, finished, "seed=5", override), (0, 1)).run()
    with pytest.raises(InputError, match=r"classifier: was made with seed = 5, which is now 6"):
        Ablation(make_run(data, finished, "seed=6"), (0, 1)).run()
    assert stamps(finished) == before
    assert (finished / "ablation/ablation.json").stat().st_mtime_ns == table


def test_other_tools_understand_a_variants_run_folder(data: Path, copy: Path) -> None:
    folder = copy / "ablation/grow_crf/0"
    run = Run(
        config.load(folder / "config.yaml", [f"run_dir={folder}", f"shared={copy}", "supervised.enabled=false"])
    )  # the run has moved
    assert not run.stage("masks").finished
    assert make_masks(run).finished
    shown = examples(run, 2)
    draw_grid(shown, copy / "grid.png")
    with Image.open(copy / "grid.png") as grid:  # CAM and grown seeds are found in the shared folder
        picture = grid.convert("RGB")
    for column in (1, 2, 3):
        tile = picture.crop((4 + 164 * column, 22, 4 + 164 * column + 160, 22 + 160))
        assert len(tile.getcolors(160 * 160)) > 100
    without = [dataclasses.replace(one, truth=None) for one in shown]
    draw_grid([dataclasses.replace(without[0], cam=None), without[1]], copy / "without.png")
    with Image.open(copy / "without.png") as grid:
        assert grid.width == picture.width - 164  # no column of truth; one of CAMs, for one has them
    before = stamps(copy / "classifier") | stamps(copy / "cams") | stamps(copy / "seeds")
    assert run_pipeline(run)["classifier_map"] >= 0
    assert stamps(copy / "classifier") | stamps(copy / "cams") | stamps(copy / "seeds") == before


def test_a_run_that_shares_never_makes_what_is_missing(data: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "seeds" / f"{make_run(data, copy).train[0].id}.png").unlink()
    run = make_run(data, tmp_path / "own", f"shared={copy}")
    for call in (train_dsrg, run_pipeline):
        with pytest.raises(InputError, match=r"copy: its classifier, CAMs or seeds are not finished"):
            call(run)
    assert not (tmp_path / "own").exists()
    with pytest.raises(InputError, match=r"is this run's own run_dir"):
        make_run(data, copy, f"shared={copy}")


def test_somebody_elses_seeds_are_shared_without_a_classifier(data: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "seeds", tmp_path / "seeds", ignore=shutil.ignore_patterns("stage.json"))
    run = make_run(data, tmp_path, "model.init=weights")
    rows = Ablation(run, [3], ["seed_loss"]).run()["rows"]
    assert {name for name, row in rows.items() if row["values"]} == {"seed_loss"}
    assert {path.name for path in tmp_path.iterdir()} == {"seeds", "ablation"}


def test_without_masks_of_the_training_split_the_supervised_row_stays_empty(data: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(data, blind)
    run = make_run(blind, tmp_path / "run")
    for photo in run.train:
        run.folder.mask_path(photo).unlink()
    ablation = Ablation(run, [0])
    assert [variant.name for variant in ablation.todo] == [variant.name for variant in ablation.variants[:-1]]
    ablation.todo = ablation.todo[:1]
    rows = ablation.run()["rows"]
    assert {name for name, row in rows.items() if row["values"]} == {"seed_loss"}
    with pytest.raises(InputError, match="--only supervised: needs masks of the training split"):
        Ablation(run, [0], ["supervised"])


def test_without_saliency_the_same_cams_are_cut_alone(data: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    for photo in make_run(data, tmp_path / "none").train:
        truth = np.array(Image.open(data / "SegmentationClass" / f"{photo.id}.png"))
        Image.fromarray(np.where(truth > 0, 255, 0).astype(np.uint8)).save(tmp_path / "maps" / f"{photo.id}.png")
    for folder in ("seeds", "ablation"):
        shutil.rmtree(copy / folder)
    both = ("seed=5", "seeds.background=auto", f"seeds.saliency_dir={tmp_path / 'maps'}")
    ablation = Ablation(make_run(data, copy, *both), (0,), ["tags_alone"], ["val", "train"])
    results = ablation.run()
    assert {name for name, row in results["rows"].items() if row["values"]} == {"cam", "tags_alone"}
    for split in ("val", "train"):
        recorded = read(copy / f"ablation/tags_alone/0/predictions/{split}/stage.json")["figures"]["retrain_miou"]
        assert results["splits"][split]["tags_alone"]["values"] == {"0": recorded}
    assert len(list(copy.rglob("metrics.jsonl"))) == 2 + 2  # DSRG and retraining; the classifier's, and its copy
    tags = copy / "ablation/tags_alone/shared"
    assert (tags / "classifier/checkpoint.pt").read_bytes() == (copy / "classifier/checkpoint.pt").read_bytes()
    cues = {folder: read(folder / "seeds/stage.json")["settings"]["seeds.background"] for folder in (copy, tags)}
    assert cues == {copy: "cam_saliency", tags: "cam"}
    with pytest.raises(InputError, match="--only tags_alone: this configuration has no such row"):
        Ablation(make_run(data, tmp_path / "other"), (0,), ["tags_alone"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--splits", "nowhere"], "nowhere"),
        (["--only", "growing"], "--only growing: no such part of the ablation; name some of seed_loss, boundary_loss,"),
        (["--seeds", "one"], "--seeds one: a random seed is a whole number"),
        (["--seeds", "1", "1"], "--seeds 1 1: name at least one random seed, and none twice"),
        (["--seeds", "4294967296"], "seed = 4294967296 does not fit"),
        (["--seeds", "0", "grow.warmup=2", "grow.enabled=false"], "grow.warmup (2) must be below dsrg.iterations (2)"),
        (["--only", "seed_loss", "data.masks=nowhere"], "nowhere: lacks masks of the split val"),
        (["no_such_key=1"], "unknown key 'no_such_key'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    words = [*settings(data, tmp_path / "run"), "--cfg", str(ROOT / "configs/demo/resnet18.yaml"), *arguments]
    if arguments == ["no_such_key=1"]:
        words = ["--cfg", words[-2], *arguments]
    assert main(["ablate", *words]) == 2
    text = capsys.readouterr()
    assert text.err.startswith("error: ")
    assert named in text.err
    assert text.err.count("\n") == 1
    assert text.out == ""
    assert not (tmp_path / "run").exists()


def test_a_row_without_figures_or_with_one_has_no_deviation() -> None:
    texts = [str(Row("a", "a", "val", values)) for values in ({}, {0: 0.5}, {0: 0.25, 1: 0.5, 2: 0.75})]
    assert texts == ["-", "0.500", "0.500 ± 0.250"]
