"""Maps by every source, the seeds that are cut from them, and the table that compares these."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from classifier_runs import KINDS, TRAIN, VAL, copy_run, make_classifiers, make_run
from demo_run import make_demo_data
from helpers import Tool

from dsrg import cam, config, tables
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.labels import IGNORE
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.stages.cams import make_cams
from dsrg.stages.seeds import make_seeds


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=TRAIN, val=VAL)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifiers(data, tmp_path_factory.mktemp("runs"))


def maps_of(run: Run, photo: Photo, source: str) -> torch.Tensor:
    settings = run.cfg.cam
    return inference.activation_maps(
        networks.trained_classifier(run),
        inference.read_pixels(photo),
        torch.from_numpy(photo.tags),
        source=source,
        scales=settings.scales,
        size=settings.size,
        mirror=settings.mirror,
    )


def raw_maps(run: Run, photo: Photo, source: str) -> list[torch.Tensor]:
    """The maps of all classes at each scale, of it and of its mirror image, mirrored back: (1, K, h, w) each."""
    model, settings = networks.trained_classifier(run), run.cfg.cam
    raw = []
    pixels = inference.read_pixels(photo)
    for pair in inference.pyramid(model, pixels, settings.scales, settings.size, settings.mirror):
        for number, image in enumerate(pair[:, None]):
            with torch.no_grad():
                if source == "acol":
                    maps = model.activation_maps(image, torch.from_numpy(photo.tags)[None])  # type: ignore[call-arg]
                else:
                    every = torch.arange(len(run.classes) - 1)[None]
                    maps = tables.part(tables.MAPS[source].place)(model, image, every)
            raw.append(maps.flip(-1) if number else maps)
    return raw


def test_cams_are_to_the_bit_what_they_were_before_there_were_sources(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    run = copy_run(data, trained, "gap", tmp_path / "run")
    make_cams(run)
    model, settings = networks.trained_classifier(run), run.cfg.cam
    for photo in run.train:
        raw, pixels = [], inference.read_pixels(photo)
        for images in inference.pyramid(model, pixels, settings.scales, settings.size, settings.mirror):
            with torch.no_grad():
                maps = model.activation_maps(images)
            raw += [maps[:1], maps[1:].flip(-1)]
        merged = cam.merge_scales(raw, (16, 16))
        tags = torch.from_numpy(photo.tags)
        expected = cam.normalise(merged, tags[None])[0, tags[1:]].numpy().astype(np.float16)
        classes, stored = storage.read_cams(run.directory / "cams" / f"{photo.id}.npz")
        assert np.array_equal(classes, np.flatnonzero(photo.tags[1:]) + 1)
        assert np.array_equal(stored, expected)
        assert stored.max() == 1


@pytest.mark.parametrize(
    ("kind", "source"), [("gap", "grad_cam"), ("gmp", "grad_cam_pp"), ("acol", "acol"), ("acol", "grad_cam")]
)
def test_every_source_makes_seeds(data: Path, trained: Path, tmp_path: Path, kind: str, source: str) -> None:
    run = copy_run(data, trained, kind, tmp_path / "run", f"seeds.source={source}")
    figures = make_cams(run).figures
    assert 0 <= figures["cam_miou"] <= 1
    for photo in run.train:
        classes, maps = storage.read_cams(run.directory / "cams" / f"{photo.id}.npz")
        assert np.array_equal(classes, np.flatnonzero(photo.tags[1:]) + 1)
        assert maps.shape == (len(classes), 16, 16)
        assert maps.min() >= 0
        assert (maps.max(axis=(1, 2)) == 1).all()
        assert (maps.min(axis=(1, 2)) == 0).all() or source != "acol"
    measured = {"supervision", "coverage", "foreground_precision", "background_precision"}
    assert make_seeds(run).figures["seeds"].keys() == measured
    for photo in run.train:
        seeds = pictures.read_mask(run.directory / "seeds" / f"{photo.id}.png", len(run.classes))
        assert photo.tags[seeds[seeds != IGNORE]].all()


@pytest.mark.parametrize(
    ("kind", "source"), [("gap", "grad_cam"), ("gap", "grad_cam_pp"), ("gmp", "grad_cam"), ("acol", "acol")]
)
def test_maps_merge_over_scales_and_mirror_as_a_plain_sum(data: Path, trained: Path, kind: str, source: str) -> None:
    run = make_run(data, trained / kind, *KINDS[kind])
    photo = max(run.train, key=lambda photo: photo.tags.sum())
    total = torch.zeros(1, len(run.classes) - 1, 16, 16)
    for raw in raw_maps(run, photo, source):
        cells = raw.shape[2] * raw.shape[3] if source == "grad_cam" else 1
        resized = torch.nn.functional.interpolate(raw.relu(), (16, 16), mode="bilinear", align_corners=True)
        total = total + cells * resized
    if source == "acol":
        total -= total.amin(dim=(2, 3), keepdim=True)
    expected = total[0] / total[0].amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    expected[~torch.from_numpy(photo.tags[1:])] = 0
    found = maps_of(run, photo, source)
    assert found.max() == 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gap", "gmp"])
def test_grad_cam_behind_global_pooling_gives_the_seeds_of_cam(data: Path, trained: Path, kind: str) -> None:
    run = make_run(data, trained / kind, *KINDS[kind])
    assert len(run.cfg.cam.scales) > 1  # one scale alone would hide how they are weighed
    for photo in run.train[:2]:
        torch.testing.assert_close(maps_of(run, photo, "grad_cam"), maps_of(run, photo, "cam"), rtol=1e-4, atol=1e-5)


def test_maps_of_another_source_are_refused_and_an_old_run_counts_as_cam(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    run = copy_run(data, trained, "gap", tmp_path / "run")
    make_cams(run)
    make_seeds(run)
    for stage in ("cams", "seeds"):
        path = run.directory / stage / "stage.json"
        record = disk.read_json(path)
        assert record["settings"].pop("seeds.source") == "cam"
        assert "data.annotations" not in record["settings"]  # localisation's alone
        disk.write_json(path, record)
    again = make_run(data, run.directory, "data.annotations=Boxes")
    assert all(again.stage(stage).finished for stage in ("cams", "seeds"))
    with pytest.raises(InputError, match=r"cams: was made with seeds\.source = cam, which is now grad_cam"):
        make_cams(make_run(data, run.directory, "seeds.source=grad_cam"))
    keys = make_run(data, run.directory, "seeds.source=grad_cam").stage("classifier").settings
    assert not [key for key in keys if key.startswith(("seeds.", "localize.", "data.annotations"))]


def test_source_table_measures_what_the_stages_would(data: Path, trained: Path, tmp_path: Path, tool: Tool) -> None:
    run, other = (copy_run(data, trained, kind, tmp_path / kind) for kind in ("gap", "acol"))
    files = [tmp_path / "gap.yaml", tmp_path / "acol.yaml"]
    for file, cfg in zip(files, (run.cfg, other.cfg), strict=True):
        file.write_text(config.dump(cfg))
    before = sorted(tmp_path.rglob("*"))
    sources = ("cam", "grad_cam_pp", "acol")
    code, out, _ = tool("compare_seeds", "--cfg", files[0], "--also", files[1], "--sources", *sources)
    assert code == 0
    written = [tmp_path / "gap" / f"source_table.{ending}" for ending in ("json", "md")]
    assert sorted({*before, *written}) == sorted(tmp_path.rglob("*"))
    rows = disk.read_json(written[0])["rows"]
    expected = [("gap", "cam"), ("gap", "grad_cam_pp"), ("acol", "grad_cam_pp"), ("acol", "acol")]
    assert [(Path(row["run_dir"]).name, row["source"]) for row in rows] == expected
    assert [row["network"] for row in rows] == ["mobilenet_v2-GAP"] * 2 + ["mobilenet_v2-ACoL"] * 2
    lines = out.splitlines()
    assert len(lines) == 2 + len(rows) + out.endswith("\n\n")
    assert len({line.count("|") for line in lines if line}) == 1
    for row in rows:
        assert 0 <= row["cam_miou"] <= 1
        assert 0 <= row["coverage"] <= 1
    figures = make_cams(run).figures | make_seeds(run).figures["seeds"]
    del figures["supervision"]
    assert {name: rows[0][name] for name in figures} == figures
    # Overrides that follow the sources hold for both runs, and run_dir for the first alone.
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(trained / "gap", elsewhere)
    words = ("--every", 2, "--sources", "grad_cam", f"run_dir={elsewhere}", "seeds.thresholds=otsu")
    assert tool("compare_seeds", "--cfg", files[0], "--also", files[1], *words)[0] == 0
    table = disk.read_json(elsewhere / "source_table.json")
    assert table["every"] == 2
    assert [Path(row["run_dir"]).name for row in table["rows"]] == ["elsewhere", "acol"]
    assert len({tuple(row["thresholds"]) for row in table["rows"]}) == 2  # Otsu's, each its own
