"""The page to try a run, in a real browser, and the words that its tool says.

To take the picture of the documentation:

    DSRG_PAGE_RUN=runs/demo DSRG_PAGE_PICTURE=docs/images/app.png python -m pytest tests/commands -k picture
"""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Tool, check_refusal, make_voc
from page_run import CONFIG, LONG_SIDE, free_port, make_run
from PIL import Image
from playwright.sync_api import Page as Browser
from playwright.sync_api import expect

from dsrg.app import studio, uploads
from dsrg.app.browser import Page
from dsrg.app.studio import Studio
from dsrg.commands import demo_app
from dsrg.data.voc import spread
from dsrg.files import pictures
from dsrg.run.folder import Run

pytestmark = pytest.mark.filterwarnings("ignore:::gradio")  # of its own use of pandas


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": ("t0", "t1"), "val": ("v0", "v1", "v2")}
    return make_voc(tmp_path_factory.mktemp("data"), splits, size=(LONG_SIDE, 45), labels={"v1": "traffic light;"})


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(data, tmp_path_factory.mktemp("run"))


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What this process looks up or connects to beside this machine."""
    asked: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def watched_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            asked.append(address)
        connect(self, address)

    def watched_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in (None, "127.0.0.1", "::1", "localhost", b"127.0.0.1", b"localhost"):
            asked.append(host)
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", watched_connect)
    monkeypatch.setattr(socket, "getaddrinfo", watched_look_up)
    return asked


class Served:
    """A page that is being served, and a browser on it."""

    def __init__(self, run: Run, scratch: Path, browser: Browser) -> None:
        self.studio = Studio(run)
        long_side = studio.usual_long_side(run)
        self.page = Page(self.studio, spread(run.val, 4), long_side, scratch)
        self.address = demo_app.launch(self.page, "127.0.0.1", free_port())
        self.browser = browser
        self.requests: list[str] = []
        browser.on("request", lambda request: self.requests.append(request.url))
        browser.goto(self.address)

    def upload(self, path: Path) -> None:
        self.browser.set_input_files("#file input[type=file]", path)

    def await_proposal(self) -> None:
        expect(self.browser.locator("#labels")).to_contain_text("%")

    def press(self, words: str) -> None:
        self.browser.get_by_role("button", name=words).click()

    def ticked(self) -> list[str]:
        return [
            box.locator("xpath=ancestor::label").inner_text() for box in self.browser.locator("#labels :checked").all()
        ]

    def download(self, words: str, path: Path) -> Path:
        with self.browser.expect_download() as waiting:
            self.browser.get_by_text(words).click()
        waiting.value.save_as(path / waiting.value.suggested_filename)
        return path / waiting.value.suggested_filename


@pytest.fixture
def served(run: Run, tmp_path: Path, page: Browser, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    there = Served(run, tmp_path, page)
    yield there
    there.page.blocks.close(verbose=False)


def test_from_an_upload_to_the_mask_on_disk(strangers: list[Any], served: Served, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = tmp_path / "my photo.png"
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(photo)
    browser = served.browser
    served.upload(photo)
    served.await_proposal()
    upload = uploads.read_upload(photo, long_side=LONG_SIDE)
    expect(browser.get_by_text("from 120 x 90 to 60 x 45 pixels")).to_be_visible()
    assert sorted(text.split()[0] for text in served.ticked()) == ["cat", "dog"]
    scores = served.studio.scores(upload.picture)
    assert f"cat {100 * scores[0]:.0f} %" in served.ticked()

    browser.get_by_label("dog").uncheck()
    served.press("Tick what the classifier proposes")
    expect(browser.get_by_label("dog")).to_be_checked()
    browser.get_by_label("dog").uncheck()
    served.press("Show CAM, seeds and mask")
    browser.locator("#seeds img").wait_for()
    browser.locator("#mask img").wait_for()
    expect(browser.locator("#cams")).to_contain_text("CAM of cat")
    expect(browser.locator("#cams")).not_to_contain_text("CAM of dog")

    mask = pictures.read_mask(served.download("Download the mask (PNG)", tmp_path / "got"), 4)
    expected = uploads.enlarge_labels(served.studio.mask(upload.picture, [1], crf=True), (90, 120))
    assert np.array_equal(mask, expected)
    assert (tmp_path / "got/my photo-mask.png").is_file()
    overlay = np.array(Image.open(served.download("Download the overlay", tmp_path / "got")))
    labels = served.studio.mask(upload.picture, [1], crf=True)
    assert np.array_equal(overlay, studio.painted(upload.picture, labels))

    row = browser.locator("#legend tr", has_text="cat").locator("td")
    assert abs(float(row.nth(2).inner_text().strip(" <>%")) / 100 - (labels == 1).mean()) <= 0.01
    assert not list((tmp_path / "gradio").rglob("my photo.png")), "what has been read is kept no longer"
    assert all(url.startswith((served.address, "data:", "blob:")) for url in served.requests), served.requests
    assert strangers == []


def test_other_settings_make_other_masks(served: Served, tmp_path: Path) -> None:
    browser = served.browser
    browser.locator("#examples img").nth(2).click()
    expect(browser.get_by_text("Its labels in the data set: cat, dog.")).to_be_visible()
    browser.get_by_label("Refine the mask (dense CRF, slower)").uncheck()
    browser.get_by_label("Only the ticked classes in the mask").uncheck()
    served.press("Show CAM, seeds and mask")
    browser.locator("#mask img").wait_for()
    mask = pictures.read_mask(served.download("Download the mask (PNG)", tmp_path), 4)
    picture = np.array(Image.open(served.studio.run.val[2].path))
    assert np.array_equal(mask, served.studio.mask(picture, None, crf=False))


def test_a_threshold_moves_the_seeds_without_a_network(
    served: Served, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = served.browser
    served.upload(data / "JPEGImages/v0.jpg")
    served.await_proposal()
    served.press("Show CAM, seeds and mask")
    browser.locator("#mask img").wait_for()
    row = browser.locator("#legend tr", has_text="cat").locator("td").nth(1)
    picture = np.array(Image.open(data / "JPEGImages/v0.jpg"))
    maps = served.studio.maps(picture, [1, 2])
    monkeypatch.setattr(served.studio, "maps", None)
    monkeypatch.setattr(served.studio, "_classifier", None)
    own = served.studio.seed_settings
    for threshold in (0.3, 0.95):
        knob = browser.locator("#foreground input[type=number]")
        knob.fill(str(threshold))
        knob.press("Enter")
        settings = own.model_copy(update={"foreground_threshold": threshold})
        share = (served.studio.seeds(picture, maps, [1, 2], settings) == 1).mean()
        expect(row).to_have_text(studio_percent(float(share)))
    served.press("Back to the run's own thresholds")
    share = (served.studio.seeds(picture, maps, [1, 2], own) == 1).mean()
    expect(row).to_have_text(studio_percent(float(share)))
    assert (knob.input_value(), own.foreground_threshold) == ("0.7", 0.7)


def studio_percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def test_what_is_no_photograph_is_one_sentence_and_the_page_goes_on(served: Served, data: Path, tmp_path: Path) -> None:
    browser = served.browser
    bad = tmp_path / "<b>letter.jpg"
    bad.write_text("Dear reader")
    served.upload(bad)
    expect(
        browser.get_by_text("is not a photograph that can be read; choose a JPEG, PNG or WebP file.")
    ).to_be_visible()
    assert browser.locator(".toast-body b").count() == 0

    Image.new("1", (8000, 6400)).save(tmp_path / "wide.png")
    served.upload(tmp_path / "wide.png")
    sentence = "wide.png: has 8000 x 6400 pixels, but at most 50 million are taken; make it smaller."
    expect(browser.get_by_text(sentence)).to_be_visible()

    (tmp_path / "heavy.jpg").write_bytes(bytes(uploads.MAX_BYTES + 100_000))
    served.upload(tmp_path / "heavy.jpg")
    sentence = "heavy.jpg: is 25.1 MB large, but at most 25 MB are taken; make it smaller."
    expect(browser.get_by_text(sentence)).to_be_visible()
    (tmp_path / "heavy.jpg").write_bytes(bytes(4 * uploads.MAX_BYTES + 1))  # Gradio's own limit
    served.upload(tmp_path / "heavy.jpg")
    sign = browser.locator("#file .error")
    sign.wait_for()
    assert "far too large" in sign.evaluate("sign => getComputedStyle(sign, '::after').content")

    served.upload(data / "JPEGImages/v0.jpg")
    served.await_proposal()
    for name in ("cat", "dog"):
        browser.get_by_label(name).uncheck()
    served.press("Show CAM, seeds and mask")
    expect(browser.get_by_text("Tick at least one label, or take the classifier's proposal.")).to_be_visible()
    served.press("Tick what the classifier proposes")
    expect(browser.get_by_label("cat")).to_be_checked()
    served.press("Show CAM, seeds and mask")
    browser.locator("#mask img").wait_for()


def test_two_visitors_do_not_see_each_others_photographs(served: Served, data: Path, tmp_path: Path) -> None:
    other = served.browser.context.browser.new_page()  # type: ignore[union-attr]  # launched by the fixture
    other.goto(served.address)
    served.upload(data / "JPEGImages/v0.jpg")
    other.set_input_files("#file input[type=file]", data / "JPEGImages/v1.jpg")
    for page in (served.browser, other):
        expect(page.locator("#labels")).to_contain_text("%")
    names = ["v0", "v1"]
    for page in (served.browser, other):
        page.get_by_role("button", name="Show CAM, seeds and mask").click()
    for page, name in zip((served.browser, other), names, strict=True):
        page.locator("#mask img").wait_for()
        with page.expect_download() as waiting:
            page.get_by_text("Download the mask (PNG)").click()
        assert waiting.value.suggested_filename == f"{name}-mask.png"
        waiting.value.save_as(tmp_path / f"{name}.png")
        picture = np.array(Image.open(data / f"JPEGImages/{name}.jpg"))
        expected = served.studio.mask(picture, studio.proposal(served.studio.scores(picture)), crf=True)
        assert np.array_equal(pictures.read_mask(tmp_path / f"{name}.png"), expected)


def test_without_a_segmentation_network_there_are_cam_and_seeds(
    data: Path, tmp_path: Path, page: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    page.set_default_timeout(60_000)
    there = Served(make_run(data, tmp_path / "run", segmenter=False), tmp_path, page)
    try:
        expect(page.get_by_text("No segmentation network is trained in this run yet")).to_be_visible()
        there.upload(data / "JPEGImages/v0.jpg")
        there.await_proposal()
        there.press("Show CAM and seeds")
        page.locator("#seeds img").wait_for()
        assert not page.locator("#mask").is_visible()
        assert not page.get_by_text("Download the mask (PNG)").is_visible()
    finally:
        there.page.blocks.close(verbose=False)


def test_the_picture_of_the_page(run: Run, tmp_path: Path, page: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the run that DSRG_PAGE_RUN names, written to DSRG_PAGE_PICTURE; without these of a small run, kept nowhere."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    folder, picture = os.environ.get("DSRG_PAGE_RUN"), os.environ.get("DSRG_PAGE_PICTURE", tmp_path / "page.png")
    page.set_default_timeout(60_000)
    there = Served(demo_app.load_run(Path(folder)) if folder else run, tmp_path, page)
    try:
        page.locator("#examples img").nth(1).click()
        there.await_proposal()
        for label in np.flatnonzero(there.page.examples[1].tags)[1:]:  # what a person sees in it
            page.get_by_label(there.studio.classes.names[label]).check()
        there.press("Show CAM, seeds and mask")
        page.locator("#mask img").wait_for()
        expect(page.locator("#legend")).to_contain_text("mask")
        page.wait_for_timeout(1000)  # until nothing fades any more
        page.screenshot(path=picture, full_page=True)
    finally:
        there.page.blocks.close(verbose=False)
    assert np.asarray(Image.open(picture)).std() > 10


def test_a_run_that_has_moved_with_its_data(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path / "old")
    stage = run.stage("classifier")
    stage.begin()
    stage.finish({})
    shutil.move(tmp_path / "old", tmp_path / "new")
    shutil.copytree(data, tmp_path / "data")
    moved = demo_app.load_run(tmp_path / "new", [f"data.root={tmp_path / 'data'}"])
    assert moved.directory == tmp_path / "new"
    assert moved.train[0].path.is_relative_to(tmp_path / "data")
    assert np.isfinite(Studio(moved).scores(np.zeros((45, 60, 3), np.uint8))).all()


def test_what_the_tool_refuses(data: Path, tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # the tool sets it; here it is to be as before afterwards
    words = (f"data.root={data}", f"run_dir={tmp_path}", "device=cpu")
    check_refusal(tool("demo_app", "--run", tmp_path), tmp_path / "config.yaml", "does not exist")
    check_refusal(tool("demo_app", "--cfg", CONFIG, *words), tmp_path / "classifier", "not finished")
    for option, value in (("--long-side", 5), ("--examples", -1), ("--port", -1)):
        check_refusal(tool("demo_app", "--cfg", CONFIG, option, value, *words), f"{option} {value}")
    run = make_run(data, tmp_path / "run")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check_refusal(tool("demo_app", "--run", run.directory, "--port", port), f"--port {port}", "choose another")
    code, _, err = tool("demo_app")
    assert (code, "--cfg" in err, "--run" in err) == (2, True, True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_refusal(tool("demo_app", "--run", run.directory), "gradio", "pip install 'dsrg[app]'")
