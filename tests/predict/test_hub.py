"""Networks on the Hugging Face Hub, which a server on this machine stands in for."""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import hub_server
import numpy as np
import pytest
from helpers import Tool, check_refusal
from hub_server import Hub
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg.errors import InputError
from dsrg.predict import hub

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
        yield running


def test_a_network_goes_up_and_comes_back(server: Hub, tmp_path: Path, tool: Tool) -> None:
    run = make_trained_run(tmp_path / "run")
    words = ["--model", run, "--out", tmp_path / "export", "--formats", "safetensors"]
    code, out, said = tool("export", *words, "--push", "owner/net", "--private", "--license", "cc-by-4.0")
    assert code == 0, said
    assert f"{server.address}/owner/net" in out
    assert server.private == {"owner/net": True}
    assert server.commits == ["Exported by dsrg"]
    files = server.files["owner/net", "main"]
    assert sorted(files) == ["README.md", "model.safetensors"]
    assert files["model.safetensors"] == (tmp_path / "export/model.safetensors").read_bytes()
    data = huggingface_hub.ModelCard(files["README.md"].decode()).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-4.0", "dsrg", "image-segmentation")
    assert 'dsrg.load("hf:owner/net")' in files["README.md"].decode()
    server.files["owner/net", "v1"] = files
    del server.files["owner/net", "main"]
    (photo,) = make_photos(tmp_path, "a.png")
    expected = dsrg.load(run, "cpu").predict(photo).mask
    assert np.array_equal(dsrg.load("hf:owner/net@v1", "cpu").predict(photo).mask, expected)
    assert tool("predict", photo, "--model", "hf:owner/net@v1", "--out", tmp_path / "out", "--device", "cpu")[0] == 0
    with pytest.raises(InputError, match="holds one network alone"):
        dsrg.load("hf:owner/net@v1", "cpu", network="dsrg")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf:owner/other", "hf:owner/other: is not on the Hub"),
        ("hf:owner/net@v2", "hf:owner/net@v2: has no such revision"),
        ("hf:owner/net", "hf:owner/net: holds no network that dsrg export wrote"),
        ("hf:net", "hf:net: is no name of a network on the Hub; write hf:owner/name"),
        ("hf:../../etc", "hf:../../etc: is no name of a network on the Hub"),
        ("hf:owner/net/model", "hf:owner/net/model: is no name of a network on the Hub"),
    ],
)
def test_what_is_not_there_is_one_sentence(server: Hub, name: str, said: str) -> None:
    server.files["owner/net", "main"] = {"README.md": b"a card"}
    with pytest.raises(InputError) as caught:
        dsrg.load(name, "cpu")
    assert str(caught.value).startswith(said)


def test_what_is_no_network_of_ours_is_refused(server: Hub) -> None:
    server.files["owner/net", "main"] = {"model.safetensors": b"no tensors at all"}
    with pytest.raises(InputError, match="not a readable safetensors file"):
        dsrg.load("hf:owner/net", "cpu")


def test_a_server_that_is_not_there_is_one_sentence(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the library's tries
    with pytest.raises(InputError, match="hf:owner/net: the Hub cannot be reached"):
        hub.fetch("hf:owner/net", "model.safetensors")
    with pytest.raises(InputError, match="--push owner/net: the Hub did not do it"):
        hub.check("owner/net")


def test_who_is_not_logged_in_is_told_before_the_export(
    server: Hub, tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    words = ["--model", tmp_path / "none", "--out", tmp_path / "export"]
    check_refusal(tool("export", *words, "--push", "owner/net"), "nobody is logged in", "hf auth login")
    check_refusal(tool("export", *words, "--push", "net@main"), "--push net@main", "write owner/name")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    check_refusal(tool("export", *words, "--push", "owner/net"), "--push owner/net")
    assert not (tmp_path / "export").exists()
    check_refusal(tool("export", "--model", tmp_path, "--out", "a.onnx", "--push", "owner/net"), "a.onnx", "a folder")


def test_without_the_library_a_sentence_says_what_to_install(
    tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "huggingface_hub" else find(name))
    with pytest.raises(InputError, match=r"hf:owner/net: needs huggingface_hub; run: .* 'dsrg\[hub\]'"):
        dsrg.load("hf:owner/net")
    words = ["--model", tmp_path / "none", "--out", tmp_path / "export", "--push", "owner/net"]
    check_refusal(tool("export", *words), "needs huggingface_hub", "pip install 'dsrg[hub]'")
