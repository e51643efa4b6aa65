"""The maps in every mode and precision, on every kind of network, which is left as it was."""

import gc
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from explain_networks import LAYER_METHODS, METHODS, PLAIN_METHODS, example, layer_hooks
from torch import nn

from dsrg.explain import cam, grad_cam, grad_cam_pp, saliency
from dsrg.models.build import build_classifier


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
def test_leaves_the_network_and_the_modes_as_they_were(method, mode):
    model, images, classes = example("acol" if method == "acol" else "gap")
    expected = METHODS[method](model, images, classes)
    model.train()
    model.backbone[1].eval()  # frozen batch norm, as ours
    model.backbone[3].weight.requires_grad_(False)
    model.backbone[0].weight.grad = torch.ones_like(model.backbone[0].weight)

    def state():
        modes = [module.training for module in model.modules()]
        gradients = [(p.requires_grad, None if p.grad is None else p.grad.sum().item()) for p in model.parameters()]
        return modes, gradients, layer_hooks(model), torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with mode():
        before = state()
        maps = METHODS[method](model, images.clone(), classes.clone())  # in inference mode: inference tensors
        assert state() == before
    assert layer_hooks(model) == 0
    assert not maps.requires_grad and not maps.is_inference()
    torch.testing.assert_close(maps, expected)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("method", sorted(LAYER_METHODS))
@pytest.mark.parametrize("fault", ["head", "layer's output", "class"])
def test_nothing_is_left_behind_when_the_network_raises(method, fault):
    model, images, classes = example("deep" if method != "cam" else "gap")
    model.train()
    layer = model.backbone
    if fault == "head":
        broken = model.head if method != "cam" else model.linear
        broken.register_forward_pre_hook(lambda *_: 1 / 0)
    elif fault == "layer's output":
        layer.register_forward_hook(lambda _m, _i, output: (output, output))
    else:
        classes = classes + 4
    hooks = layer_hooks(model)
    with pytest.raises((ZeroDivisionError, ValueError)):
        LAYER_METHODS[method](model, images, classes, layer=layer)
    assert layer_hooks(model) == hooks
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()


def test_a_thousand_backward_passes_leave_memory_where_it_was():
    model, images, classes = example(batch=2, classes=2, size=32, dtype=torch.float32)

    def passes(count):
        for _ in range(0, count, 6):  # three methods, a backward pass for each of two classes
            grad_cam(model, images, classes)
            grad_cam_pp(model, images, classes, layer=model.backbone)
            saliency(model, images, classes)

    def memory():
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        pages = int(Path("/proc/self/statm").read_text().split()[1]) if sys.platform == "linux" else 0
        return tensors, pages * 4096

    passes(60)
    gc.collect()
    gc.disable()  # so that nothing hides in reference cycles
    try:
        tensors_before, bytes_before = memory()
        passes(1000)
        tensors_after, bytes_after = memory()
    finally:
        gc.enable()
    assert tensors_after == tensors_before
    assert bytes_after - bytes_before < 4 * 2**20  # a leak of the smallest gradient, 10 KB, would be 10 MB
    assert layer_hooks(model) == 0


def test_no_graph_is_built_before_the_features():
    """Grad-CAM's cheapness: the part before the features runs once and keeps nothing for a backward pass."""
    model, images, classes = example("deep", classes=4)
    runs = []
    model.backbone.register_forward_hook(lambda _m, _i, output: runs.append(output.requires_grad))
    grad_cam(model, images, classes)
    grad_cam(model, images, classes, layer=model.backbone)
    assert runs == [False, False]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_autocast_gives_float32_near_full_precision(method):
    model, images, classes = example("acol" if method == "acol" else "gap", size=16, dtype=torch.float32)
    expected = METHODS[method](model, images, classes)
    with torch.autocast("cpu", torch.bfloat16):
        maps = METHODS[method](model, images, classes)
        assert torch.is_autocast_enabled("cpu")
        layered = grad_cam(model, images, classes, layer=model.backbone)
    assert maps.dtype == layered.dtype == torch.float32
    assert np.corrcoef(maps.flatten(), expected.flatten())[0, 1] > 0.99


def test_the_head_is_differentiated_in_full_precision_under_autocast():
    """Behind average pooling gradients are as small as half precision's smallest numbers."""
    model, images, classes = example(dtype=torch.float32)
    seen = []
    model.linear.register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.float16):
        grad_cam(model, images, classes)
    assert seen == [torch.float32]


def test_half_precision_network():
    model, images, classes = example(dtype=torch.float32)
    expected = {method: PLAIN_METHODS[method](model, images, classes) for method in PLAIN_METHODS}
    model.bfloat16()
    for method, function in PLAIN_METHODS.items():
        maps = function(model, images.bfloat16(), classes)
        assert maps.dtype == torch.float32
        assert np.corrcoef(maps.flatten(), expected[method].flatten())[0, 1] > 0.99


@pytest.mark.parametrize("method", sorted(METHODS))
def test_channels_last(method):
    model, images, classes = example("acol" if method == "acol" else "gap")
    expected = METHODS[method](model, images, classes)
    model.to(memory_format=torch.channels_last)
    maps = METHODS[method](model, images.contiguous(memory_format=torch.channels_last), classes)
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("method", sorted(PLAIN_METHODS))
def test_frozen_networks(method):
    torch.manual_seed(0)
    model = build_classifier(backbone="resnet18", num_classes=4, freeze_stages=5, freeze_bn=True).eval()
    images, classes = torch.randn(1, 3, 33, 33), torch.tensor([[2, 0]])
    maps = PLAIN_METHODS[method](model, images, classes)
    assert maps.abs().amax(dim=(2, 3)).min() > 0
    model.requires_grad_(False)
    assert torch.equal(PLAIN_METHODS[method](model, images, classes), maps)
    if method in LAYER_METHODS:
        torch.testing.assert_close(
            LAYER_METHODS[method](model, images, classes, layer=model.backbone.stages[4]), maps, atol=1e-6, rtol=1e-4
        )
        if method != "cam":
            assert LAYER_METHODS[method](model, images, classes, layer=model.backbone.stages[2]).shape[-1] == 5


def test_a_torchvision_network_with_its_own_head():
    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(weights=None).eval()
    images, classes = torch.randn(2, 3, 64, 64), torch.tensor([[1], [700]])
    assert grad_cam(model, images, classes, layer=model.features).shape == (2, 1, 3, 3)
    assert saliency(model, images, classes).shape == (2, 1, 64, 64)
    with pytest.raises(ValueError, match=r"SqueezeNet has no features\(\) and classify\(\); name the layer"):
        grad_cam(model, images, classes)
    with pytest.raises(ValueError, match="one linear layer, which SqueezeNet does not have; use grad_cam"):
        cam(model, images, classes, layer=model.features)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_refuses_what_does_not_fit(method):
    model, images, classes = example("acol" if method == "acol" else "gap")
    function = METHODS[method]
    with pytest.raises(ValueError, match=r"classes must be integers \(3, M\), not torch.int64 \(3,\); give classes\[:"):
        function(model, images, classes[:, 0])
    with pytest.raises(ValueError, match=r"classes must be integers"):
        function(model, images, classes[:2])
    with pytest.raises(ValueError, match=r"classes must be integers"):
        function(model, images, classes.float())
    with pytest.raises(ValueError, match=r"images must be floating point \(B, 3, H, W\)"):
        function(model, images[0], classes)
    with pytest.raises(ValueError, match=r"classes must be in 0..3, not 0..4"):
        function(model, images, torch.tensor([[0], [4], [1]]))
    with pytest.raises(ValueError, match=r"classes must be in 0..3, not -1..1"):
        function(model, images, torch.tensor([[0], [-1], [1]]))


def test_refuses_layers_and_networks_that_do_not_fit():
    model, images, classes = example("deep")
    with pytest.raises(ValueError, match="the layer Conv2d was not called"):
        grad_cam(model, images, classes, layer=nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match=r"a tensor \(B, D, h, w\), not \(3, 6\); name another layer"):
        grad_cam(model, images, classes, layer=model.head[2])
    model.head[0].register_forward_hook(lambda _m, _i, output: output.detach())
    for function in (grad_cam, saliency):
        with pytest.raises(ValueError, match="the logits do not depend on what is to be explained"):
            function(model, images, classes)
    with pytest.raises(ValueError, match=r"the network must give logits \(B, K\), not \(3, 5, 4, 4\)"):
        saliency(model.backbone, images, classes)


def test_a_layer_that_the_logits_do_not_depend_on_explains_nothing():
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, images):
            self.unused(images)
            return self.used(images).mean(dim=(2, 3))

    model = Aside()
    images, classes = torch.randn(1, 3, 4, 4), torch.tensor([[1]])
    with pytest.raises(ValueError, match="do not depend"):
        grad_cam(model, images, classes, layer=model.unused)
