"""The page of dsrg demo-app: its layout in Gradio, and what each of its events does with a `Studio`."""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from dsrg.app import studio, uploads
from dsrg.app.html import Shares, colour_scale, legend, percent
from dsrg.app.scratch import Room
from dsrg.app.studio import Maps, Studio
from dsrg.app.uploads import Upload
from dsrg.data.voc import Photo
from dsrg.draw import heatmap
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.schema import Seeds

THUMBNAIL = 160
"""Long side of an example's picture, in pixels."""
FORGET_AFTER = 3600
"""Seconds after which the photograph and the files of an idle page are deleted."""
DECIMALS = 3
"""Of the thresholds, as the page shows them."""
Update = dict[Any, Any]
"""New values of components, by component."""


@dataclass(frozen=True, eq=False)
class Visit:
    """What the server remembers of one open page; each step makes a new one."""

    upload: Upload
    scores: np.ndarray
    """(K,) probabilities of the foreground classes."""
    folder: Path
    """Where the files to download lie."""
    maps: Maps | None = None
    """All that have been made for this photograph."""
    labels: tuple[int, ...] = ()
    """Those whose maps, seeds and mask are shown."""
    seed_shares: Shares | None = None
    mask_shares: Shares | None = None


class Page:
    """The layout, and the handlers of its events.

    Nothing of a visitor is kept here: it travels in the `Visit` of each open page.

    Args:
        studio: The networks.
        examples: Photographs to choose from.
        long_side: Larger uploads are made smaller, in pixels.
        scratch: Folder for uploads, and for the files to download.
    """

    def __init__(self, studio: Studio, examples: Sequence[Photo], long_side: int, scratch: Path) -> None:
        self.studio, self.examples, self.long_side, self.scratch = studio, examples, long_side, scratch
        self.room = Room(scratch)
        """Bounds what lies in the folder."""
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read where Blocks reports errors, besides its own argument
        with gr.Blocks(
            title=f"dsrg: {studio.run.directory.name}", analytics_enabled=False, delete_cache=(600, FORGET_AFTER)
        ) as self.blocks:
            self.visit = gr.State(None, time_to_live=FORGET_AFTER, delete_callback=_forget)
            gr.Markdown(self._introduction())
            with gr.Row():
                with gr.Column(scale=2, min_width=320):
                    self._lay_out_choices()
                with gr.Column(scale=5, min_width=480):
                    self._lay_out_results()
            self._connect()

    def _introduction(self) -> str:
        names = ", ".join(map(html.escape, self.studio.classes.foreground[:30]))
        more = " …" if len(self.studio.classes) > 31 else ""
        text = (
            "# Masks from labels\n"
            "These networks learnt from photographs that were only labelled; nobody drew a pixel. Choose a photograph, "
            "say what is in it, and see where the classifier looks (CAM), which pixels are sure enough to learn from "
            f"(seeds), and the mask of the final network. They know these classes alone: **{names}{more}**."
        )
        if self.studio.network is None:
            text += "\n\n**No segmentation network is trained in this run yet: there are CAM and seeds, but no mask.**"
        return text

    def _lay_out_choices(self) -> None:
        gr.Markdown("### 1. Choose a photograph")
        self.file = gr.File(show_label=False, file_types=list(uploads.ENDINGS), height=125, elem_id="file")
        others = "; or one of these, which the networks have not learnt from:" if self.examples else "."
        gr.Markdown(f"JPEG, PNG or WebP, up to {uploads.MAX_BYTES / 1e6:g} MB{others}")
        self.gallery = gr.Gallery(
            [(_thumbnail(photo), "") for photo in self.examples],
            show_label=False,
            columns=4,
            height=14 + 82 * -(-len(self.examples) // 4),
            allow_preview=False,
            object_fit="cover",
            format="jpeg",
            buttons=[],
            interactive=False,
            visible=bool(self.examples),
            elem_id="examples",
        )
        gr.Markdown("### 2. Say what is in it")
        names = self.studio.classes.foreground
        self.labels = gr.CheckboxGroup(
            [(name, label) for label, name in enumerate(names, 1)], show_label=False, elem_id="labels"
        )
        self.propose = gr.Button("Tick what the classifier proposes", size="sm", interactive=False)
        gr.Markdown("### 3. Look")
        test = self.studio.run.cfg.test
        with gr.Group(visible=self.studio.network is not None):
            self.restrict = gr.Checkbox(True, label="Only the ticked classes in the mask")
            self.crf = gr.Checkbox(test.crf, label="Refine the mask (dense CRF, slower)")
        verb = "Show CAM, seeds and mask" if self.studio.network else "Show CAM and seeds"
        self.go = gr.Button(verb, variant="primary", interactive=False)

    def _lay_out_results(self) -> None:
        picture: dict[str, Any] = {"interactive": False, "buttons": ["fullscreen"], "height": 330}
        with gr.Row():
            with gr.Column(min_width=240):
                self.photo = gr.Image(label="Photograph", format="jpeg", **picture)
                self.remark = gr.Markdown()
            with gr.Column(min_width=240):
                self.cams = gr.Gallery(
                    label="CAM: where the classifier looks",
                    columns=4,
                    height=330,
                    preview=True,
                    format="jpeg",
                    object_fit="contain",
                    interactive=False,
                    buttons=["fullscreen"],
                    elem_id="cams",
                )
                _markup(colour_scale())
        with gr.Row():
            with gr.Column(min_width=240):
                self.seeds = gr.Image(label="Seeds: the pixels to learn from", format="png", elem_id="seeds", **picture)
                self._lay_out_thresholds()
            with gr.Column(min_width=240):
                masked = self.studio.network is not None
                by = {"retrain": "the retrained network", "dsrg": "the DSRG network"}.get(self.studio.network or "", "")
                self.mask = gr.Image(label=f"Mask: by {by}", format="png", elem_id="mask", visible=masked, **picture)
                self.legend = _markup("", elem_classes="legend", elem_id="legend")
                with gr.Row(visible=masked):
                    self.save_mask = gr.DownloadButton("Download the mask (PNG)", size="sm", interactive=False)
                    self.save_overlay = gr.DownloadButton("Download the overlay", size="sm", interactive=False)

    def _lay_out_thresholds(self) -> None:
        first, second, refine = self.reset_thresholds()
        power = self.studio.seed_settings.background == "power"
        limits = (0.5, 32) if power else (0, 1)
        label = "Background: exponent of (1 - CAM)" if power else "Background: every CAM below"
        self.foreground = gr.Slider(
            0, 1, first, step=0.001, label="Foreground: CAM above", buttons=[], elem_id="foreground"
        )
        self.background = gr.Slider(
            limits[0], limits[1], second, step=0.001, label=label, buttons=[], elem_id="background"
        )
        self.refine = gr.Checkbox(refine, label="Refine the seeds (dense CRF)", visible=not power)
        self.reset = gr.Button("Back to the run's own thresholds", size="sm")
        if self.studio.remark:
            gr.Markdown(self.studio.remark)

    def _connect(self) -> None:
        # One network pass at a time, whoever asks.
        passes: dict[str, Any] = {"concurrency_id": "networks", "concurrency_limit": 1, "api_visibility": "private"}
        cheap: dict[str, Any] = {"concurrency_id": "seeds", "concurrency_limit": 2, "api_visibility": "private"}
        opened = [self.visit, self.file, self.photo, self.remark, self.labels, self.propose, self.go, *self._results()]
        asked = self.file.upload(self.open_file, [self.file, self.visit], opened, show_progress_on=self.photo, **passes)
        asked.failure(lambda: None, None, self.file, **cheap)  # the box is free for the next
        self.gallery.select(self.open_example, [self.visit], opened, show_progress_on=self.photo, **passes)
        self.propose.click(self.tick_proposal, [self.visit], self.labels, **cheap)
        thresholds = [self.foreground, self.background, self.refine]
        self.go.click(
            self.show,
            [self.visit, self.labels, self.restrict, self.crf, *thresholds],
            [self.visit, *self._results()],
            **passes,
        )
        cut: dict[str, Any] = {
            "fn": self.cut_again,
            "inputs": [self.visit, *thresholds],
            "outputs": [self.visit, self.seeds, self.legend],
            "trigger_mode": "always_last",  # the picture follows the knob without a queue of its old places
            "show_progress": "hidden",
            # In the networks' queue: else the seeds of one photograph could come in after the next has been opened.
            **cheap | {"concurrency_id": "networks", "concurrency_limit": 1},
        }
        for slider in (self.foreground, self.background):
            slider.input(**cut)
        self.refine.input(**cut)
        self.reset.click(self.reset_thresholds, None, thresholds, **cheap).then(**cut)

    def _results(self) -> list[Any]:
        return [self.cams, self.seeds, self.mask, self.legend, self.save_mask, self.save_overlay]

    # Handlers

    def open_file(self, path: str | None, before: Visit | None) -> Update:
        """Read an upload, delete it, and ask the classifier."""
        with _told():
            if path is None:
                raise InputError("Choose a photograph.")
            try:
                upload = uploads.read_upload(path, long_side=self.long_side)
            finally:
                if self.scratch.resolve() in Path(path).resolve().parents:
                    Path(path).unlink(missing_ok=True)
            return self._open(upload, before, "")

    def open_example(self, event: gr.SelectData, before: Visit | None) -> Update:
        """Read one of the run's photographs and ask the classifier."""
        photo = self.examples[int(event.index)]
        names = [self.studio.classes.names[label] for label in photo.own]
        with _told():
            upload = uploads.read_upload(photo.path, long_side=self.long_side)
            return self._open(upload, before, f"Its labels in the data set: {', '.join(names)}.")

    def _open(self, upload: Upload, before: Visit | None, remark: str) -> Update:
        _forget(before)
        self.room.tidy()
        scores = self.studio.scores(upload.picture)
        visit = Visit(upload, scores, Path(tempfile.mkdtemp(dir=self.scratch)))
        height, width = upload.picture.shape[:2]
        if (height, width) != upload.full_size:
            remark += (
                f" Made smaller, from {upload.full_size[1]} x {upload.full_size[0]} to {width} x {height} pixels, a "
                "size that the networks know. The mask to download is as large as the file."
            )
        order = np.argsort(-scores, kind="stable") + 1
        names = self.studio.classes.names
        return {
            self.visit: visit,
            self.file: None,
            self.photo: gr.Image(studio.enlarged(upload.picture), label=f"Photograph: {upload.name}"),
            self.remark: html.escape(remark.strip()),
            self.labels: gr.CheckboxGroup(
                [(f"{names[label]} {percent(scores[label - 1])}", label) for label in order.tolist()],
                value=studio.proposal(scores),
            ),
            self.propose: gr.Button(interactive=True),
            self.go: gr.Button(interactive=True),
            **self._without_mask(),
            self.cams: None,
            self.seeds: None,
            self.legend: "",
        }

    def _without_mask(self) -> Update:
        idle = gr.DownloadButton(interactive=False)
        return {self.mask: None, self.save_mask: idle, self.save_overlay: idle}

    def tick_proposal(self, visit: Visit | None) -> list[int]:
        """The labels that the classifier proposes."""
        return [] if visit is None else studio.proposal(visit.scores)

    def show(
        self,
        visit: Visit | None,
        labels: list[int],
        restrict: bool,
        crf: bool,
        foreground: float,
        background: float,
        refine: bool,
    ) -> Iterator[Update]:
        """CAM and seeds of the ticked labels as soon as they are there, then the mask."""
        with _told():
            if visit is None:
                raise InputError("Choose a photograph first.")
            if not labels:
                raise InputError("Tick at least one label, or take the classifier's proposal.")
            self.room.tidy()
            own, picture = tuple(sorted(labels)), visit.upload.picture
            maps = self.studio.maps(picture, own, visit.maps)
            visit = replace(visit, maps=maps, labels=own, mask_shares=None)
            visit, painted = self._cut(visit, self._settings(foreground, background, refine))
            names = self.studio.classes.names
            large = studio.enlarged(picture)
            heats = [(heatmap.paint(large, maps.of([label])[1][0]), f"CAM of {names[label]}") for label in own]
            yield {
                self.visit: visit,
                self.cams: gr.Gallery(heats, selected_index=0),
                self.seeds: painted,
                self.legend: self._legend(visit),
                **self._without_mask(),
            }
            if self.studio.network is None:
                return
            mask = self.studio.mask(picture, own if restrict else None, crf=crf)
            visit = replace(visit, mask_shares=studio.shares(mask, len(names)))
            painted = studio.painted(picture, mask)
            files = _write(visit, mask, painted)
            yield {
                self.visit: visit,
                self.mask: painted,
                self.legend: self._legend(visit),
                self.save_mask: gr.DownloadButton(value=str(files[0]), interactive=True),
                self.save_overlay: gr.DownloadButton(value=str(files[1]), interactive=True),
            }

    def cut_again(self, visit: Visit | None, foreground: float, background: float, refine: bool) -> Update:
        """The seeds at other thresholds, from the maps that are there."""
        if visit is None or visit.maps is None:
            return {self.visit: visit}
        self.room.tidy()
        with _told():
            visit, painted = self._cut(visit, self._settings(foreground, background, refine))
        return {self.visit: visit, self.seeds: painted, self.legend: self._legend(visit)}

    def reset_thresholds(self) -> list[Any]:
        """The run's own, rounded to be read; `_settings` knows what they stand for."""
        own = self.studio.seed_settings
        return [round(own.foreground_threshold, DECIMALS), round(getattr(own, self._second()), DECIMALS), own.crf]

    def _second(self) -> str:
        """The setting that decides on background."""
        return "alpha" if self.studio.seed_settings.background == "power" else "background_threshold"

    def _settings(self, foreground: float, background: float, refine: bool) -> Seeds:
        own, second = self.studio.seed_settings, self._second()
        changed: dict[str, Any] = {"foreground_threshold": foreground, second: background}
        for key, value in changed.items():
            if value == round(getattr(own, key), DECIMALS):
                changed[key] = getattr(own, key)
        if second == "background_threshold":
            # A knob beyond the other one stops there: no pixel can be sure foreground and sure background.
            changed[second] = min(changed[second], changed["foreground_threshold"])
            changed["crf"] = refine
        return own.model_copy(update=changed)

    def _cut(self, visit: Visit, settings: Seeds) -> tuple[Visit, np.ndarray]:
        assert visit.maps is not None
        picture = visit.upload.picture
        seeds = self.studio.seeds(picture, visit.maps, visit.labels, settings)
        seed_shares = studio.shares(seeds, len(self.studio.classes))
        return replace(visit, seed_shares=seed_shares), studio.painted(picture, seeds)

    def _legend(self, visit: Visit) -> str:
        columns = (("seeds", visit.seed_shares), ("mask", visit.mask_shares))
        return legend(self.studio.classes.names, visit.labels, columns)


def _markup(text: str, **options: Any) -> gr.Markdown:
    """HTML of our own. Gradio's component of that name makes a script of it, which the page's browser may not run."""
    return gr.Markdown(text, sanitize_html=False, latex_delimiters=[], **options)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Bad input becomes a sentence on the page; Gradio takes it for HTML."""
    try:
        yield
    except InputError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False, title="That did not work") from None


def _forget(visit: Visit | None) -> None:
    """Delete the files of a visit that is over."""
    if visit is not None:
        shutil.rmtree(visit.folder, ignore_errors=True)


def _write(visit: Visit, mask: np.ndarray, painted: np.ndarray) -> tuple[Path, Path]:
    """The files to download: the mask, as large as the upload, and the picture that is shown."""
    name = visit.upload.name.encode("utf-8", "replace").decode()[:60]  # both endings must have room
    visit.folder.mkdir(exist_ok=True)  # it may have been the oldest, with its earlier files
    files = (visit.folder / f"{name}-mask.png", visit.folder / f"{name}-overlay.png")
    pictures.write_mask(files[0], uploads.enlarge_labels(mask, visit.upload.full_size))
    Image.fromarray(painted).save(files[1])
    return files


def _thumbnail(photo: Photo) -> np.ndarray:
    image = pictures.read_image(photo.path)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.array(image)
