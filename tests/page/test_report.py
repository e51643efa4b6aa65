"""The page of a run in headless Chromium, opened from disk with the network cut off."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import Tool, check_refusal
from PIL import Image
from playwright.sync_api import Page
from report_run import FIGURES, HOSTILE, LOG, NAMES, TRAIN, VAL, make_run, naive_iou, write_cfg

from dsrg import config
from dsrg.labels import palette
from dsrg.page import record
from dsrg.page.report import write_report
from dsrg.run import results
from dsrg.run.folder import Run
from dsrg.run.table import predictions_of
from dsrg.study import examples, failures

SECTIONS = ["figures", "classes", "training", "growth", "pictures", "extremes", "configuration", "environment"]
DOCS_IMAGE = Path(__file__).parents[2] / "docs/images/report.png"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def written(run: Run) -> Path:
    return write_report(run)


@pytest.fixture
def opened(written: Path, page: Page) -> Iterator[Page]:
    """The page of the finished run; anything that it asks the network for, logs or opens fails the test."""
    yield from open_page(page, written)


def open_page(page: Page, path: Path) -> Iterator[Page]:
    asked, said = [], []
    page.context.set_offline(True)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    page.goto(path.as_uri())
    yield page
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert not said


def test_every_section_is_there_and_nothing_else_runs(opened: Page, run: Run) -> None:
    assert opened.locator("section").evaluate_all("all => all.map(one => one.id)") == SECTIONS
    assert opened.locator("section h2").count() == len(SECTIONS)
    links = opened.locator("nav a").evaluate_all("all => all.map(one => one.getAttribute('href').slice(1))")
    assert links == SECTIONS
    assert opened.locator("script").count() == 1
    names = opened.locator(".bar-row:not(.axis) .bar-name").all_inner_texts()
    assert names == list(NAMES)
    assert opened.locator("#pictures .id").all_inner_texts() == list(TRAIN)
    assert opened.locator(".empty").count() == 0
    assert opened.get_by_text("not run").count() == 0
    size = (run.directory / "report.html").stat().st_size / 1e6
    assert f"One file of {size:.1f} MB" in opened.locator("footer").inner_text()


def test_table_holds_the_figures(opened: Page, run: Run) -> None:
    figures = record.results(record.statuses(run))
    cells = opened.locator("#figures tbody tr").evaluate_all(
        "all => all.map(row => [row.dataset.key, row.cells[1].dataset.value, row.cells[1].innerText.trim()])"
    )
    assert [key for key, _, _ in cells] == [key for key, _ in results.ROWS]
    for key, value, shown in cells:
        expected = results.figure(figures, key)
        assert expected is not None
        assert float(value) == expected
        assert shown == f"{expected:.3f}"
    assert opened.locator(".tiles dd").all_inner_texts()[0] == f"{FIGURES['classifier']['classifier_map']:.3f}"


def test_iou_by_class_is_that_of_the_masks(opened: Page, run: Run) -> None:
    folders = {name: run.stage(predictions_of(name)).directory for name in ("dsrg", "retrain", "supervised")}
    expected = [naive_iou(run, folder) for folder in folders.values()]
    opened.locator("#classes summary").click()
    rows = opened.locator("#classes tbody tr").all()
    for name, row in zip(NAMES, rows, strict=True):
        known = {HOSTILE: "1.0000", "it's&dog": "0.5000"}.get(name, "-")
        told = [f"{iou[name]:.4f}" for iou in expected]
        assert row.locator("td").all_inner_texts() == [known, *told]
    widths = opened.locator(".bar-line .fill").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().width / one.parentElement.getBoundingClientRect().width)"
    )
    shares = [iou[name] or 0.0 for name in NAMES for iou in expected]
    assert np.allclose(widths, shares, atol=0.01)
    opened.locator(".bar-line").nth(3).hover()
    assert opened.locator("#tip").inner_text() == f"{HOSTILE}, DSRG: IoU {expected[0][HOSTILE]:.4f}"


def clip(page: Page, card: int = 0) -> str:
    found = page.locator("#pictures .card").nth(card).locator(".cut").evaluate("one => getComputedStyle(one).clipPath")
    return str(found)


def test_slider_moves_between_photograph_and_mask(opened: Page) -> None:
    slider = opened.locator("#pictures input[type=range]:not(#strength)").first
    assert clip(opened) == "inset(0px 0px 0px 50%)"
    slider.focus()
    for _ in range(5):
        opened.keyboard.press("ArrowRight")
    assert clip(opened) == "inset(0px 0px 0px 55%)"
    assert slider.get_attribute("aria-valuetext") == "photograph on 55 % of the width"
    opened.keyboard.press("Home")
    assert clip(opened) == "inset(0px 0px 0px 0%)"
    box = slider.bounding_box()
    assert box is not None
    slider.click(position={"x": box["width"] / 4, "y": box["height"] / 3})  # scrolls there if need be
    assert float(clip(opened).split()[-1].rstrip("%)")) == pytest.approx(25, abs=1)
    assert clip(opened, 1) == "inset(0px 0px 0px 50%)"


def test_layers_and_strength(opened: Page) -> None:
    cards = opened.locator("#pictures .card")
    first, second = cards.nth(0), cards.nth(1)
    assert first.locator(".compare .layer").get_attribute("class") == "layer mask"
    first.get_by_role("button", name="grown seeds").click()
    assert first.locator(".compare .layer").get_attribute("class") == "layer grown"
    assert first.locator("[aria-pressed=true]").inner_text() == "grown seeds"
    assert "grown seeds right" in str(first.locator("input").get_attribute("aria-label"))
    assert second.locator(".compare .layer").get_attribute("class") == "layer mask"
    opened.get_by_text("truth", exact=True).first.click()  # of the row above the photographs
    assert {str(card.locator(".compare .layer").get_attribute("class")) for card in cards.all()} == {"layer truth"}
    opened.locator("#strength").focus()
    opened.keyboard.press("End")
    assert first.locator(".compare .layer").evaluate("one => getComputedStyle(one).opacity") == "1"


def test_layers_hold_the_masks_pixels(opened: Page, run: Run) -> None:
    """At full strength the screen shows the palette's colours where the mask has them."""
    shown = examples.examples(run)[1]
    assert shown.mask is not None
    opened.locator("#strength").focus()
    opened.keyboard.press("End")
    card = opened.locator("#pictures .card").nth(1)
    card.locator("input").focus()
    opened.keyboard.press("Home")
    picture = card.locator(".compare")
    colours = picture.evaluate(
        """async (box) => {
            const uri = getComputedStyle(box.closest('.card')).getPropertyValue('--mask').slice(4, -1);
            const image = new Image();
            image.src = uri;
            await image.decode();
            const canvas = Object.assign(document.createElement('canvas'), {width: image.width, height: image.height});
            const pen = canvas.getContext('2d');
            pen.drawImage(image, 0, 0);
            return [...pen.getImageData(0, 0, image.width, image.height).data];
        }"""
    )
    pixels = np.array(colours, np.uint8).reshape(12, 16, 4)[..., :3]
    assert np.array_equal(pixels, palette()[shown.mask])


def test_curves_show_the_logs_values(opened: Page) -> None:
    panel = opened.locator("#training .panel").nth(1)
    panel.locator("summary").click()
    cells = panel.locator("table").nth(0).locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells == ["20", *(f"{LOG[0][key]:.4g}" for key in ("loss", "seed_loss", "boundary_loss"))]
    plot = panel.locator(".plot").first
    plot.focus()
    opened.keyboard.press("Home")
    words = opened.locator("#tip").inner_text().splitlines()
    assert words == ["iteration 20", "loss 2.1", "seed loss 2", "boundary loss 0.1"]
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#tip").inner_text().startswith("iteration 40")
    box = plot.locator(".field").bounding_box()
    assert box is not None
    opened.mouse.move(box["x"] + 0.61 * box["width"], box["y"] + 40)
    assert opened.locator("#tip").inner_text().startswith("iteration 60")
    growth = opened.locator("#growth .plot")
    assert growth.get_attribute("aria-label") == (
        "labelled cells, iteration 20 to 100: seeds from 25 % to 25 %; grown seeds from 20 % to 100 %. "
        "Arrow keys move along the values."
    )


def test_worst_and_best_are_ranked(opened: Page, run: Run) -> None:
    folder = run.stage(predictions_of("retrain")).directory
    ordered = failures.rank(failures.compare(run, {"retrain": folder}), "retrain")
    expected = [*ordered[:3], *ordered[:2:-1]]
    shown = opened.locator("#extremes .card")
    assert shown.locator(".id").all_inner_texts() == [failure.photo.id for failure in expected]
    assert shown.locator(".score b").all_inner_texts() == [f"{failure.miou('retrain'):.3f}" for failure in expected]
    assert shown.nth(4).locator(".id").inner_text() in VAL
    assert shown.locator(".compare").count() == 3 * len(VAL)  # photograph, prediction, truth


def test_configuration_is_searched_and_narrowed(opened: Page, run: Run) -> None:
    rows = [row for section in record.settings(run.cfg).values() for row in section]
    visible = opened.locator("#configuration tbody tr:visible th code")
    opened.get_by_role("button", name="open all").click()
    assert visible.all_inner_texts() == [row.key for row in rows if row.changed]
    opened.get_by_label("only what differs").uncheck()
    opened.get_by_role("button", name="open all").click()
    assert visible.all_inner_texts() == [row.key for row in rows]
    opened.get_by_label("Search").fill("grow theta")
    assert visible.all_inner_texts() == ["grow.theta_fg", "grow.theta_bg"]
    assert opened.locator("#found").inner_text() == "2 keys"


CONTRAST = """() => {
    const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(v => v / 255)
            .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const behind = (one) => {
        const colour = getComputedStyle(one).backgroundColor;
        return colour === 'rgba(0, 0, 0, 0)' ? behind(one.parentElement) : colour;
    };
    return [...document.querySelectorAll('p, td, th, dt, dd, h1, h2, .y-tick, .bar-line span')].map(one => {
        const [high, low] = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => b - a);
        return (high + .05) / (low + .05);
    });
}"""
"""WCAG's contrast of each text and what is behind it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_and_both_colour_schemes(opened: Page, scheme: str) -> None:
    opened.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 150) == (scheme == "dark")
    assert min(opened.evaluate(CONTRAST)) >= 4.5


def test_a_run_that_has_not_begun(tmp_path: Path, page: Page) -> None:
    run = Run(config.load(write_cfg(tmp_path)))
    for opened in open_page(page, write_report(run, 2)):
        assert opened.locator("#figures td").all_inner_texts() == ["not measured"] * len(results.ROWS)
        for section in ("classes", "growth", "extremes", "environment"):
            assert opened.locator(f"#{section} .empty").inner_text().startswith("Not run")
        assert opened.locator("#training .empty").count() == 4
        assert opened.locator("#pictures .card").count() == 2
        first = opened.locator("#pictures .card").first
        assert first.locator(".thumb[disabled]").count() == 5  # truth is there from the start
        assert first.locator(".compare .layer").get_attribute("class") == "layer truth"
        assert opened.locator(".stages .not-run").count() == len(run.stages)


def test_without_true_masks_nothing_is_measured(tmp_path: Path, page: Page) -> None:
    run = Run(config.load(write_cfg(tmp_path, data={"root": str(tmp_path / "data"), "masks": "none"})))
    for opened in open_page(page, write_report(run)):
        assert "no true masks" in opened.locator("#extremes .empty").inner_text()
        assert "no true masks" in opened.locator("#classes .empty").inner_text()
        assert opened.locator(".compare input").count() == 0


def test_the_tool_names_file_and_size(run: Run, tool: Tool) -> None:
    code, out, _ = tool("report", "--cfg", run.directory.parent / "run.yaml", "--pictures", 1)
    path = run.directory / "report.html"
    assert (code, out) == (0, f"{path}, {path.stat().st_size / 1e6:.1f} MB\n")
    assert path.read_text().count('class="thumbs"') == 1
    before = path.read_bytes()
    check_refusal(tool("report", "--cfg", run.directory.parent / "run.yaml", "--pictures", 0), "--pictures 0")
    other = ("report", "--cfg", run.directory.parent / "run.yaml", "dsrg.lr=1")
    check_refusal(tool(*other), run.directory / "dsrg", "dsrg.lr = 0.0005, which is now 1.0")
    assert path.read_bytes() == before


def test_predictions_of_the_users_own_are_measured(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run.stage(predictions_of("retrain")).directory / "stage.json").unlink()
    figures = record.results(record.statuses(run))
    assert "retrain_iou" not in figures
    text = write_report(run, 1).read_text()
    for value in naive_iou(run, run.stage(predictions_of("retrain")).directory).values():
        assert f"retrained: IoU {value:.4f}" in text


def test_screenshot_for_the_docs(page: Page, tmp_path: Path) -> None:
    """docs/images/report.png, of the run that `make demo` leaves: DSRG_DOCS_RUN=runs/demo pytest -k for_the_docs."""
    folder = os.environ.get("DSRG_DOCS_RUN")
    if folder is None:
        pytest.skip("draws docs/images/report.png where DSRG_DOCS_RUN names a finished run")
    path = write_report(Run(config.load(Path(folder) / "config.yaml", [f"run_dir={folder}"])))
    for opened in open_page(page, path.resolve()):
        opened.set_viewport_size({"width": 1080, "height": 1500})
        opened.screenshot(path=tmp_path / "light.png")
        opened.emulate_media(color_scheme="dark")
        opened.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
        opened.locator("nav").evaluate("one => one.style.position = 'static'")
        opened.locator("#pictures").evaluate("one => scrollTo(0, one.offsetTop + 16)")
        opened.screenshot(path=tmp_path / "dark.png")
    sheet = Image.new("RGB", (2160, 1500))
    for place, name in enumerate(("light", "dark")):
        with Image.open(tmp_path / f"{name}.png") as half:
            sheet.paste(half, (1080 * place, 0))
    small = sheet.resize((1620, 1125), Image.Resampling.LANCZOS)
    small.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(DOCS_IMAGE, optimize=True)
    assert DOCS_IMAGE.stat().st_size < 1_000_000


def test_json_in_the_page_cannot_end_its_attribute(written: Path) -> None:
    text = written.read_text()
    assert HOSTILE not in text
    for part in text.split("data-chart='")[1:]:
        assert json.loads(part.split("'")[0])["x"] == [line["iteration"] for line in LOG]
