"""Every stage on a handful of generated photographs: what is written, skipped, resumed and refused."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_run import make_demo_data, start_demo_run
from PIL import Image

from dsrg import config, pipeline
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.labels import IGNORE
from dsrg.pipeline import run_pipeline
from dsrg.run import engine
from dsrg.run.folder import Run
from dsrg.run.results import ROWS, figure, table
from dsrg.stages.cams import make_cams
from dsrg.stages.classifier import classify
from dsrg.stages.dsrg import train_dsrg
from dsrg.stages.masks import make_masks
from dsrg.stages.retrain import retrain, train_supervised
from dsrg.stages.seeds import make_seeds
from dsrg.study.compare_masks import CONFIDENCES, mask_table
from dsrg.study.compare_masks import SCALES as MASK_SCALES
from dsrg.study.compare_seeds import GIVEN, WAYS, seed_table

QUICK = (
    *("workers=0", "cam.scales=[1.0]", "masks.scales=[1.0]", "test.scales=[1.0]", "grow.warmup=0"),
    *(
        f"{section}.{setting}"
        for section in ("classifier", "dsrg", "retrain")
        for setting in ("iterations=3", "batch=4", "size=65", "log_every=1", "checkpoint_every=2", "warmup=0")
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=10, val=5)


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    return start_demo_run(data, run_dir, *QUICK, *overrides)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    run_pipeline(make_run(data, run_dir))
    return run_dir


def weights(run_dir: Path, stage: str) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = storage.load_checkpoint(run_dir / stage / "checkpoint.pt")["model"]
    return tensors


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_every_stage_leaves_its_files(data: Path, finished: Path) -> None:
    run = make_run(data, finished)
    for stage in ("classifier", "dsrg", "retrain", "supervised"):
        assert (finished / stage / "checkpoint.pt").is_file()
        assert len((finished / stage / "metrics.jsonl").read_text().splitlines()) == 3
        assert list((finished / stage).glob("events.out.tfevents.*"))
    for photo in run.train:
        classes, maps = storage.read_cams(finished / "cams" / f"{photo.id}.npz")
        assert np.array_equal(classes, np.flatnonzero(photo.tags[1:]) + 1)
        assert maps.shape == (len(classes), 16, 16)
        assert maps.min() >= 0
        assert set(maps.max(axis=(1, 2))) <= {0.0, 1.0}  # an untrained classifier may answer no class at all
        for folder in ("seeds", "masks"):
            mask = pictures.read_mask(finished / folder / f"{photo.id}.png", len(run.classes))
            assert mask.shape == (64, 64)
            assert photo.tags[mask[mask != IGNORE]].all(), "a mask holds a class that its photograph is not tagged with"
    for folder in ("predictions/val", "dsrg/predictions/val", "supervised/predictions/val"):
        assert len(list((finished / folder).glob("*.png"))) == len(run.val)
    assert (finished / "pictures.png").stat().st_size > 1000
    assert (finished / "report.html").stat().st_size > 10_000
    assert config.load(finished / "config.yaml") == run.cfg
    assert json.loads((finished / "environment.json").read_text())["torch"] == torch.__version__


def test_results_hold_every_figure_of_the_table(finished: Path) -> None:
    results = disk.read_json(finished / "results.json")
    text = table(results)
    assert len(text.splitlines()) == 2 + len(ROWS)
    assert "not measured" not in text
    for line in text.splitlines()[2:-1]:
        assert 0 <= float(line.split("|")[2]) <= 1
    assert results["weak_to_full_ratio"] == results["retrain_miou"] / results["supervised_miou"]


def test_report_holds_the_figures(finished: Path) -> None:
    results = disk.read_json(finished / "results.json")
    shown = dict(re.findall(r'data-key="(.+?)">.*?data-value="(.+?)"', (finished / "report.html").read_text(), re.S))
    assert {key: float(value) for key, value in shown.items()} == {key: figure(results, key) for key, _ in ROWS}


def test_a_report_that_fails_loses_nothing(
    data: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("no room")

    before = (finished / "report.html").read_bytes()
    (finished / "results.json").unlink()
    monkeypatch.setattr(pipeline, "write_report", failing)
    results = run_pipeline(make_run(data, finished))
    assert disk.read_json(finished / "results.json") == results
    text = capsys.readouterr()
    assert "| retrained / fully supervised |" in text.out
    assert f"warning: {finished / 'report.html'} was not written (RuntimeError: no room)" in text.err
    assert (finished / "report.html").read_bytes() == before


def test_second_run_skips_everything(data: Path, finished: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in finished.rglob("*.p*") if path.name != "pictures.png"}
    run_pipeline(make_run(data, finished))
    assert files == {path: path.stat().st_mtime_ns for path in files}


def test_interrupted_pipeline_ends_with_the_same_bits(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "parts"
    with monkeypatch.context() as patch:
        # The DSRG stage dies in its third iteration, after the checkpoint of the second.
        def dying(self: object, model: object, batch: object, iteration: int) -> None:
            if iteration == 2:
                raise KeyboardInterrupt
            return original(self, model, batch, iteration)  # type: ignore[arg-type]

        from dsrg.stages.dsrg import DsrgStep

        original = DsrgStep.__call__
        patch.setattr(DsrgStep, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            run_pipeline(make_run(data, run_dir))
    assert not (run_dir / "masks").exists()
    shutil.rmtree(run_dir / "seeds")  # and somebody deletes a folder: it is made anew from what is there
    torch.manual_seed(1234)
    run_pipeline(make_run(data, run_dir))
    for stage in ("classifier", "dsrg", "retrain", "supervised"):
        assert same(weights(finished, stage), weights(run_dir, stage)), stage
    for png in (finished / "predictions/val").glob("*.png"):
        assert png.read_bytes() == (run_dir / "predictions/val" / png.name).read_bytes()


def test_only_missing_files_are_made(data: Path, finished: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "copy"
    shutil.copytree(finished, run_dir)
    record = run_dir / "seeds" / "stage.json"
    record.write_text(record.read_text().replace('"finished": true', '"finished": false'))
    names = sorted((run_dir / "seeds").glob("*.png"))
    expected = names[0].read_bytes()
    names[0].unlink()
    kept = names[1].stat().st_mtime_ns
    make_seeds(make_run(data, run_dir))
    assert names[0].read_bytes() == expected
    assert names[1].stat().st_mtime_ns == kept


def test_deleted_files_of_a_finished_stage_are_made_again(data: Path, finished: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "copy"
    shutil.copytree(finished, run_dir)
    names = [f"{folder}/{make_run(data, run_dir).train[0].id}.png" for folder in ("seeds", "masks")]
    for name in names:
        (run_dir / name).unlink()
    with pytest.raises(InputError, match=r"seeds: is not finished; run dsrg make-seeds first"):
        make_run(data, run_dir).require("seeds")
    run_pipeline(make_run(data, run_dir, "compile=true"))  # nothing trains again, so nothing is compiled
    for name in names:
        assert (run_dir / name).read_bytes() == (finished / name).read_bytes()


def test_other_settings_in_the_same_folder_are_refused(data: Path, finished: Path) -> None:
    before = (finished / "config.yaml").read_bytes()
    with pytest.raises(InputError, match=r"seeds\.foreground_threshold = 0\.\d+, which is now 0\.9"):
        run_pipeline(make_run(data, finished, "seeds.foreground_threshold=0.9"))
    assert (finished / "config.yaml").read_bytes() == before
    make_cams(make_run(data, finished, "seeds.foreground_threshold=0.9"))  # an earlier stage does not depend on it


def test_seeds_of_somebody_else_are_taken(data: Path, finished: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "foreign"
    shutil.copytree(finished / "seeds", run_dir / "seeds", ignore=shutil.ignore_patterns("stage.json"))
    train_dsrg(make_run(data, run_dir, "model.init=weights"))
    assert (run_dir / "dsrg" / "checkpoint.pt").is_file()


def test_the_setting_compile_reaches_the_training(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(engine, "fit", lambda *given_all: given.append(given_all[-1].compile))
    for name in ("false", "true"):
        shutil.copytree(finished / "seeds", tmp_path / name / "seeds", ignore=shutil.ignore_patterns("stage.json"))
        train_dsrg(make_run(data, tmp_path / name, "model.init=weights", f"compile={name}"))
    assert given == [False, True]


def test_a_stage_says_what_it_needs(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"seeds: is not finished; run dsrg make-seeds first"):
        train_dsrg(make_run(data, tmp_path / "empty", "model.init=weights"))
    assert not (tmp_path / "empty").exists()


def test_saliency_background(data: Path, finished: Path, tmp_path: Path) -> None:
    run_dir, maps = tmp_path / "run", tmp_path / "saliency"
    for stage in ("classifier", "cams"):
        shutil.copytree(finished / stage, run_dir / stage)
    overrides = ("seeds.background=saliency", f"seeds.saliency_dir={maps}")
    with pytest.raises(InputError, match="the saliency map does not exist"):
        make_seeds(make_run(data, run_dir, *overrides))
    assert not (run_dir / "seeds").exists()
    run = make_run(data, run_dir, *overrides)
    maps.mkdir()
    for photo in run.train:  # the left half is background
        grey = np.full((64, 64), 255, np.uint8)
        grey[:, :32] = 0
        Image.fromarray(grey).save(maps / f"{photo.id}.png")
    make_seeds(run)
    for photo in run.train:
        seeds = pictures.read_mask(run_dir / "seeds" / f"{photo.id}.png")
        assert (seeds[:, 34:] != 0).all()
        assert (seeds[:, :30] != IGNORE).all()


def test_masks_of_the_training_split_never_reach_the_weak_stages(data: Path, finished: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(data, blind)
    shutil.rmtree(blind / "SegmentationClass")
    results = run_pipeline(make_run(blind, tmp_path / "run"))
    assert results.keys() == {"classifier_map", "classifier_ap", "seeds", "masks_coverage", "seconds"}
    assert results["seeds"] == {"supervision": "tags"}
    for stage in ("classifier", "dsrg", "retrain"):
        assert same(weights(finished, stage), weights(tmp_path / "run", stage)), stage
    assert "not measured" in table(results)


def test_classifier_reports_average_precision_by_class(data: Path, finished: Path) -> None:
    figures = classify(make_run(data, finished)).figures
    values = [value for value in figures["classifier_ap"].values() if value is not None]
    assert figures["classifier_map"] == pytest.approx(np.mean(values))


def test_retraining_may_start_at_the_dsrg_network(data: Path, finished: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    dsrg = weights(finished, "dsrg")
    head = next(name for name in dsrg if name.startswith("branches") and name.endswith("weight"))
    moved = {}
    for start in ("dsrg", "fresh"):
        shutil.copytree(finished, run_dir / start, ignore=shutil.ignore_patterns("retrain"))
        # Steps too small to matter: what is left is where the training started.
        retrain(make_run(data, run_dir / start, f"retrain.start={start}", "retrain.lr=1e-12"))
        moved[start] = (weights(run_dir / start, "retrain")[head] - dsrg[head]).abs().max()
    assert moved["dsrg"] < 1e-6
    assert moved["fresh"] > 10 * moved["dsrg"]


def test_masks_leave_out_what_the_network_is_unsure_of(data: Path, finished: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(finished, run_dir, ignore=shutil.ignore_patterns("masks", "retrain"))
    run = make_run(data, run_dir, "masks.confidence=0.6")
    figures = make_masks(run).figures
    labelled = []
    for photo in run.train:
        whole, sure = (pictures.read_mask(folder / "masks" / f"{photo.id}.png") for folder in (finished, run_dir))
        assert np.array_equal(sure[sure != IGNORE], whole[sure != IGNORE])
        labelled.append(np.mean(sure != IGNORE))
    assert 0 < figures["masks_coverage"] < 1
    assert figures["masks_coverage"] == pytest.approx(np.mean(labelled))
    assert 0 <= figures["masks_miou"] <= 1
    retrain(run)


@pytest.mark.parametrize("merge", ["probabilities", "logits"])
def test_mask_table_measures_what_the_stage_would_write(data: Path, finished: Path, tmp_path: Path, merge: str) -> None:
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("masks", "retrain", "predictions"))
    settings = ("masks.scales=[0.75, 1.0]", "masks.confidence=0.35", f"masks.merge={merge}")
    run = make_run(data, tmp_path / "run", *settings)
    figures = make_masks(run).figures
    lines = mask_table(run).splitlines()
    table = disk.read_json(run.directory / "mask_table.json")["masks"]
    assert len(table) == (1 + len(MASK_SCALES)) * (1 + len(CONFIDENCES))
    assert len(lines) == 2 + 1 + len(MASK_SCALES)
    own = next(cell for cell in table if cell["scales"] == [0.75, 1.0] and cell["confidence"] == 0.35)
    assert own["coverage"] == pytest.approx(figures["masks_coverage"])
    assert own["miou"] == pytest.approx(figures["masks_miou"])
    assert f"{own['miou']:.3f} ({own['coverage']:.2f})" in lines[2]
    whole = next(cell for cell in table if cell["scales"] == [0.75, 1.0] and cell["confidence"] == 0)
    assert lines[2].endswith(f"| {whole['missed']:.3f} | {whole['added']:.3f} |")
    with pytest.raises(InputError, match="--every 0"):
        mask_table(run, 0)


def test_full_supervision_may_have_its_own_length(data: Path, finished: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(finished, run_dir, ignore=shutil.ignore_patterns("supervised"))
    train_supervised(make_run(data, run_dir, "supervised.iterations=5"))
    lines = (run_dir / "supervised/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3, 4, 5]
    with pytest.raises(InputError, match="supervised.iterations = 5, which is now None"):
        train_supervised(make_run(data, run_dir))


def test_seed_table_measures_what_the_stage_would_write(data: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run = make_run(data, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (run.directory / "seeds").iterdir()}
    lines = seed_table(run).splitlines()
    assert {path: path.stat().st_mtime_ns for path in (run.directory / "seeds").iterdir()} == before
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {way}" for way in ("this configuration", *WAYS)]
    own = disk.read_json(run.directory / "seed_table.json")["seeds"]["this configuration"]
    stage = disk.read_json(run.directory / "seeds" / "stage.json")["figures"]["seeds"]
    assert stage.pop("supervision") == "tags"
    assert {name: own[name] for name in stage} == stage
    assert own["precision"].keys() == set(run.classes.names)
    assert own["precision"]["background"] == pytest.approx(stage["background_precision"], nan_ok=True)
    with pytest.raises(InputError, match="--every 0"):
        seed_table(run, 0)
    # A run that takes its CAMs from another one has none of its own.
    taker = make_run(data, tmp_path / "taker", f"shared={run.directory}")
    assert seed_table(taker).splitlines() == lines


def test_seed_table_measures_seeds_from_elsewhere(data: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "seeds", tmp_path / "run/seeds")
    record = disk.read_json(tmp_path / "run/seeds/stage.json")
    (tmp_path / "run/seeds/stage.json").unlink()
    run = make_run(data, tmp_path / "run")
    lines = seed_table(run).splitlines()
    table = disk.read_json(run.directory / "seed_table.json")["seeds"]
    assert list(table) == [GIVEN]
    del record["figures"]["seeds"]["supervision"]
    assert {name: table[GIVEN][name] for name in record["figures"]["seeds"]} == record["figures"]["seeds"]
    right = of = 0
    for photo in run.train:
        folders = (tmp_path / "run/seeds", run.folder.mask_dir)
        seeds, truth = (pictures.read_mask(folder / f"{photo.id}.png") for folder in folders)
        objects = (truth > 0) & (truth != IGNORE)
        right, of = right + int((seeds == truth)[objects].sum()), of + int(objects.sum())
    assert table[GIVEN]["objects_right"] == pytest.approx(right / of)
    assert lines[2].startswith(f"| {GIVEN} |  | ")
    shutil.copytree(finished / "cams", tmp_path / "run/cams")
    shutil.copytree(finished / "classifier", tmp_path / "run/classifier")
    assert seed_table(run).splitlines()[2] == lines[2]
    assert list(disk.read_json(run.directory / "seed_table.json")["seeds"]) == [GIVEN, "this configuration", *WAYS]


def test_seeds_by_otsu_and_crf_from_the_same_cams(data: Path, finished: Path, tmp_path: Path) -> None:
    for folder in ("classifier", "cams"):
        shutil.copytree(finished / folder, tmp_path / folder)
    choice = ("seeds.background=cam", "seeds.thresholds=otsu", "seeds.crf=true")
    run = make_run(data, tmp_path, *choice)
    make_seeds(run)
    record = disk.read_json(tmp_path / "seeds" / "stage.json")
    assert 0 < record["figures"]["background_threshold"] < record["figures"]["foreground_threshold"] < 1
    for photo in run.train:
        seeds = pictures.read_mask(tmp_path / "seeds" / f"{photo.id}.png", len(run.classes))
        assert seeds.shape == (64, 64)
        assert photo.tags[seeds[seeds != IGNORE]].all()
    with pytest.raises(InputError, match=r"crf and par both refine"):
        make_run(data, tmp_path, *choice, "seeds.par=true")
    by_crf = {path.name: path.read_bytes() for path in (tmp_path / "seeds").glob("*.png")}
    shutil.rmtree(tmp_path / "seeds")
    make_seeds(make_run(data, tmp_path, *choice, "seeds.crf=false", "seeds.par=true"))
    for photo in run.train:
        seeds = pictures.read_mask(tmp_path / "seeds" / f"{photo.id}.png", len(run.classes))
        assert photo.tags[seeds[seeds != IGNORE]].all()
    assert {path.name: path.read_bytes() for path in (tmp_path / "seeds").glob("*.png")} != by_crf
    shutil.rmtree(tmp_path / "seeds")
    make_seeds(run)
    with pytest.raises(InputError, match=r"seeds: was made with crf\.bilateral_srgb = .*, which is now 3"):
        make_seeds(make_run(data, tmp_path, *choice, "crf.bilateral_srgb=3"))
