"""Networks on ONNX Runtime: the labels of PyTorch's, the graph kept, built anew where it is not what it should be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NAMES
from torch import nn
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg import config, tables
from dsrg.commands import predict
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.predict.segmenter import Segmenter
from dsrg.run import onnx_network
from dsrg.run.networks import new_gate


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose classifier gates, with a graph of both networks."""
    folder = make_trained_run(tmp_path_factory.mktemp("runs") / "own")
    cfg = config.load(folder / "config.yaml", trained=True)
    cfg = config.change(cfg, {"test.gate": True, "classifier.size": 65, "test.scales": [0.7, 1.0]})
    (folder / "config.yaml").write_text(config.dump(cfg))
    torch.manual_seed(5)
    state = new_gate(cfg.classifier, cfg.model.backbone, len(NAMES)).classifier.state_dict()
    state["linear.bias"] += torch.tensor([-1.0, -3.0, 4.0])
    storage.save_checkpoint(folder / "classifier/checkpoint.pt", {"model": state})
    return folder


@pytest.fixture(scope="module")
def both(run_dir: Path) -> tuple[Segmenter, Segmenter]:
    """The run's segmenter in PyTorch, and on ONNX Runtime."""
    return dsrg.load(run_dir, "cpu"), dsrg.load(run_dir, "cpu", engine="onnx")


def test_labels_are_those_of_pytorch_gate_scales_and_mirror_image_included(
    both: tuple[Segmenter, Segmenter], tmp_path: Path
) -> None:
    plain, fast = both
    assert fast.graph is not None
    assert fast.gate is not None and fast.gate.graph is not None
    assert plain.graph is None
    photos = [*make_photos(tmp_path, "a.png", "b.png", size=(90, 61)), *make_photos(tmp_path, "c.png", size=(64, 120))]
    equal = pixels = 0
    for expected, found in zip(*(one.predict(photos, probs=True) for one in both), strict=True):
        assert np.abs(found.probs - expected.probs).max() < 1e-4
        assert len(np.unique(expected.mask)) > 1
        equal += int((found.mask == expected.mask).sum())
        pixels += expected.mask.size
    assert equal >= 0.999 * pixels
    fast.gate.graph = lambda images: torch.full((len(images), len(NAMES) - 1), -50.0)  # the classifier sees no class
    try:
        assert not fast.predict(photos[0]).mask.any()
    finally:
        fast.use_engine("onnx", Path(tmp_path / "graphs"))


def test_graphs_are_kept_and_a_damaged_or_foreign_one_is_built_anew(
    both: tuple[Segmenter, Segmenter], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = sorted((run_dir / "graphs").glob("*.onnx"))
    assert len(graphs) == 2
    kept = {graph: graph.read_bytes() for graph in graphs}
    built: list[int] = []
    build = onnx_network._build
    monkeypatch.setattr(onnx_network, "_build", lambda model: built.append(1) or build(model))
    dsrg.load(run_dir, "cpu", engine="onnx")
    assert not built
    for damaged in (kept[graphs[1]], b"no graph", kept[graphs[0]][:-1000]):
        graphs[0].write_bytes(damaged)
        built.clear()
        assert dsrg.load(run_dir, "cpu", engine="onnx").graph is not None
        assert len(built) == 1
        onnx_network._checked(*_model_of(both[0], graphs[0]), graphs[0].read_bytes())


def _model_of(segmenter: Segmenter, graph: Path) -> tuple[nn.Module]:
    assert segmenter.gate is not None
    models = (segmenter.model, segmenter.gate.classifier)
    return (next(model for model in models if onnx_network._key(model) == graph.stem),)


def test_auto_takes_pytorch_on_a_gpu_under_amp_and_where_onnx_runtime_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    assert onnx_network.wanted("auto", cpu, amp=False)
    assert not onnx_network.wanted("auto", torch.device("cuda"), amp=False)
    assert not onnx_network.wanted("auto", cpu, amp=True)
    assert not onnx_network.wanted("torch", cpu, amp=False)
    with pytest.raises(InputError, match="CPU alone, not on cuda"):
        onnx_network.wanted("onnx", torch.device("cuda"), amp=False)
    with pytest.raises(InputError, match="amp=false"):
        onnx_network.wanted("onnx", cpu, amp=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not onnx_network.wanted("auto", cpu, amp=False)
    with pytest.raises(InputError, match="needs onnx"):
        onnx_network.wanted("onnx", cpu, amp=False)


class Odd(nn.Module):
    """What no graph can be written of: it asks for a value on the way."""

    output_stride = 16

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :1] if images.sum().item() > 1e9 else images * len(images.unique())


def test_a_network_that_cannot_be_written_is_refused_or_left_to_pytorch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="take torch"):
        onnx_network.on_onnx(Odd(), tmp_path)
    assert onnx_network.on_onnx(Odd(), tmp_path, required=False) is None
    assert "PyTorch computes" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_command_runs_on_either_engine_and_a_run_on_pytorch_unless_told_otherwise(
    run_dir: Path, tmp_path: Path
) -> None:
    photo = make_photos(tmp_path / "photos", "a.png", size=(90, 61))[0]
    masks = []
    for engine in ("torch", "onnx"):
        out = tmp_path / engine
        line = [str(photo.parent), "--model", str(run_dir), "--out", str(out), "--device", "cpu", "--workers", "0"]
        assert predict.main([*line, "--engine", engine]) == 0
        masks.append(pictures.read_mask(out / "masks/a.png"))
    assert (masks[0] == masks[1]).mean() >= 0.999
    assert tables.ENGINES == ("auto", "torch", "onnx")
