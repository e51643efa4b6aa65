"""Each map equals a naive autograd version and an independent library's."""

import numpy as np
import pytest
import torch
import torchvision
from explain_networks import LAYER_METHODS, METHODS, PLAIN_METHODS, example, out_of_place
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from dsrg import explain
from dsrg.explain import acol, cam, grad_cam, grad_cam_pp, saliency


def naive_gradient(model, image, label):
    """Features (D, h, w) and d S / d features of one image and class, by autograd through the whole network."""
    features = out_of_place(model).features(image[None])
    (gradient,) = torch.autograd.grad(model.classify(features)[0, label], features)
    return features[0].detach(), gradient[0]


def naive_grad_cam(model, image, label):
    features, gradient = naive_gradient(model, image, label)
    depth, height, width = features.shape
    total = torch.zeros(height, width, dtype=features.dtype)
    for k in range(depth):
        total += sum(gradient[k].flatten().tolist()) / (height * width) * features[k]
    return total.clamp(min=0)


def naive_grad_cam_pp(model, image, label):
    """Eq. 10 and 11 with the second and third derivatives of exp(S) by autograd, one cell after the other."""
    features = out_of_place(model).features(image[None]).detach()[0].requires_grad_()
    score = model.classify(features[None])[0, label].exp()
    (first,) = torch.autograd.grad(score, features, create_graph=True)
    total = torch.zeros(features.shape[1:], dtype=features.dtype)
    for k in range(features.shape[0]):
        weight = 0.0
        for i, j in np.ndindex(*features.shape[1:]):
            (second,) = torch.autograd.grad(first[k, i, j], features, create_graph=True)
            (third,) = torch.autograd.grad(second[k, i, j], features, retain_graph=True)
            d1, d2, d3 = (derivative[k, i, j].item() for derivative in (first, second, third))
            if d1 > 0:
                weight += d2 / (2 * d2 + sum(features[k].flatten().tolist()) * d3) * d1
        total += weight * features[k].detach()
    return total.clamp(min=0), score.item()


def naive_saliency(model, image, label):
    pixels = image[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(out_of_place(model)(pixels)[0, label], pixels)
    _, _, height, width = gradient.shape
    rows = [[max(abs(gradient[0, c, y, x].item()) for c in range(3)) for x in range(width)] for y in range(height)]
    return torch.tensor(rows, dtype=image.dtype)


def test_cam_equals_loops_and_keeps_negative_values():
    model, images, classes = example()
    maps = cam(model, images, classes)
    assert maps.min() < 0 < maps.max()
    with torch.no_grad():
        features = model.features(images)
        for b, m in np.ndindex(*classes.shape):
            expected = sum(model.linear.weight[classes[b, m], k] * features[b, k] for k in range(5))
            torch.testing.assert_close(maps[b, m], expected)
        logits = model(images).gather(1, classes)
        torch.testing.assert_close(maps.mean(dim=(2, 3)) + model.linear.bias[classes], logits)
        torch.testing.assert_close(maps[0], model.activation_maps(images)[0, classes[0]])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["gap", "gmp"]), st.integers(1, 4), st.integers(1, 5), st.integers(2, 9), st.integers(0, 999))
def test_grad_cam_behind_pooling_is_rectified_cam(network, batch, classes, size, seed):
    model, images, wanted = example(network, batch, classes, size, torch.float32, seed)
    raw = cam(model, images, wanted)
    expected = raw.clamp(min=0) / (raw.shape[2] * raw.shape[3])
    torch.testing.assert_close(grad_cam(model, images, wanted), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(METHODS)),
    st.sampled_from(["gap", "gmp", "deep"]),
    st.integers(1, 3),
    st.integers(0, 5),
    st.integers(0, 999),
)
def test_many_classes_and_images_equal_one_at_a_time(method, network, batch, classes, seed):
    network = {"acol": "acol", "cam": "gap"}.get(method, network)
    model, images, wanted = example(network, batch, classes, 6, seed=seed)
    find = METHODS[method]
    maps = find(model, images, wanted)
    assert maps.shape == (batch, classes, *((6, 6) if method == "saliency" else (3, 3)))
    assert method == "cam" or (maps >= 0).all()
    for b, m in np.ndindex(*wanted.shape):
        alone = find(model, images[b : b + 1], wanted[b : b + 1, m : m + 1])
        torch.testing.assert_close(maps[b, m], alone[0, 0])


@pytest.mark.parametrize("network", ["gap", "gmp", "deep"])
def test_grad_cam_equals_naive_autograd(network):
    model, images, classes = example(network)
    maps = grad_cam(model, images, classes)
    assert maps.max() > 0
    for b, m in np.ndindex(*classes.shape):
        torch.testing.assert_close(maps[b, m], naive_grad_cam(model, images[b], classes[b, m]))


@pytest.mark.parametrize("network", ["gap", "gmp", "deep"])
def test_grad_cam_pp_equals_third_derivatives_up_to_the_score(network):
    model, images, classes = example(network, batch=2, size=6)
    maps = grad_cam_pp(model, images, classes)
    assert maps.max() > 0
    for b, m in np.ndindex(*classes.shape):
        expected, score = naive_grad_cam_pp(model, images[b], classes[b, m])
        torch.testing.assert_close(maps[b, m], expected / score)


def test_grad_cam_pp_keeps_gradients_whose_cubes_vanish():
    model, images, classes = example(dtype=torch.float32)
    large = grad_cam_pp(model, images, classes)
    with torch.no_grad():
        model.linear.weight.mul_(1e-16)
    small, plain = grad_cam_pp(model, images, classes), cam(model, images, classes)
    assert large.max() > 0 and small.max() > 0
    # alpha is 1/2 in the limit: half the sum of the positive weights' part of the CAM
    with torch.no_grad():
        weights = model.linear.weight.clamp(min=0)[classes]
        expected = torch.einsum("bmd,bdhw->bmhw", weights, model.features(images)) / 2
    torch.testing.assert_close(small, expected, atol=0, rtol=1e-4)
    assert plain.abs().max() < 1e-12


@pytest.mark.parametrize("network", ["gap", "gmp", "deep"])
def test_saliency_equals_naive_autograd(network):
    model, images, classes = example(network, size=6)
    maps = saliency(model, images, classes)
    assert maps.shape == (3, 2, 6, 6) and maps.max() > 0
    for b, m in np.ndindex(*classes.shape):
        torch.testing.assert_close(maps[b, m], naive_saliency(model, images[b], classes[b, m]))


def test_saliency_of_a_network_whose_first_layer_works_in_place():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.randn(2, 3, 4, 4)
    before = images.clone()
    maps = saliency(model, images, torch.tensor([[0], [1]]))
    assert torch.equal(images, before)
    expected = (images > 0) * model[1].weight.detach()[:, :, 0, 0].abs()[:, :, None, None] / 16
    torch.testing.assert_close(maps[:, 0], expected.amax(dim=1))


@pytest.mark.parametrize("method", LAYER_METHODS)
def test_a_named_layer_equals_the_networks_own_split(method):
    for network in ("gap",) if method == "cam" else ("gap", "gmp", "deep"):
        model, images, classes = example(network)
        own = LAYER_METHODS[method](model, images, classes)
        torch.testing.assert_close(LAYER_METHODS[method](model, images, classes, layer=model.backbone), own)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_pp"])
def test_a_layer_before_one_that_works_in_place(method):
    model, images, classes = example("deep")
    maps = LAYER_METHODS[method](model, images, classes, layer=model.backbone[1])  # a ReLU in place follows
    out_of_place(model)
    torch.testing.assert_close(maps, LAYER_METHODS[method](model, images, classes, layer=model.backbone[1]))
    if method == "grad_cam":
        with torch.no_grad():
            features = model.backbone[:2](images)
        features.requires_grad_()
        score = model.head(model.backbone[2:](features)).gather(1, classes[:, :1]).sum()
        (gradient,) = torch.autograd.grad(score, features)
        expected = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).clamp(min=0)
        torch.testing.assert_close(maps[:, 0], expected.detach())


def test_a_layer_that_is_called_twice_counts_at_its_last_call():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, images):
            return (self.again(self.again(self.first(images)))).tanh().mean(dim=(2, 3))

    torch.manual_seed(0)
    model, images, classes = Twice().double(), torch.randn(2, 3, 5, 5).double(), torch.tensor([[0], [3]])
    with torch.no_grad():
        features = model.again(model.again(model.first(images)))
    features.requires_grad_()
    (gradient,) = torch.autograd.grad(features.tanh().mean(dim=(2, 3)).gather(1, classes).sum(), features)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1, keepdim=True).clamp(min=0)
    torch.testing.assert_close(grad_cam(model, images, classes, layer=model.again), expected.detach())


def test_acol_picks_from_the_networks_own_maps():
    model, images, classes = example("acol", dtype=torch.float32)
    maps = acol(model, images, classes)
    with torch.no_grad():
        own = model.activation_maps(images)
    expected = torch.stack([own[b][classes[b]] for b in range(3)])
    assert torch.equal(maps, expected) and maps.max() == 1
    for method in ("grad_cam", "grad_cam_pp", "saliency"):
        assert METHODS[method](model, images, classes).max() > 0
    with pytest.raises(ValueError, match="Classifier has no ACoL head"):
        acol(*example("gap"))
    with pytest.raises(ValueError, match="CAM needs 5 pooled features"):
        cam(model, images, classes)


def imagenet_network(weights):
    """MobileNetV2 with ImageNet's weights or, without the file, random ones that keep its activations alive."""
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2(weights=None)
    if weights is not None:
        model.load_state_dict(torch.load(weights))
    else:
        model(torch.randn(8, 3, 96, 96))  # batch statistics
        # the library adds 1e-6 to Grad-CAM++'s denominator, beside which g^2 must not be small
        nn.init.normal_(model.classifier[1].weight, std=1)
    return model.eval()


def library_maps(model, method, images, labels):
    """The maps of the library grad-cam or, for saliency, captum, image by image, as large as the images."""
    if method == "saliency":
        library = pytest.importorskip("captum.attr")
        pixels = [image[None].requires_grad_() for image in images]
        pairs = zip(pixels, labels.tolist(), strict=True)
        maps = [library.Saliency(model).attribute(image, target=label) for image, label in pairs]
        return torch.cat(maps).amax(dim=1).numpy()
    import pytorch_grad_cam  # here: it takes seconds
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    # It has no CAM of its own; behind average pooling its Grad-CAM is the CAM's positive part.
    kind = pytorch_grad_cam.GradCAMPlusPlus if method == "grad_cam_pp" else pytorch_grad_cam.GradCAM
    pairs = zip(images, labels.tolist(), strict=True)
    with kind(model, [model.features[-1]]) as library:
        return np.concatenate([library(image[None], [ClassifierOutputTarget(label)]) for image, label in pairs])


@pytest.mark.parametrize("weights", ["random", "imagenet"])
@pytest.mark.parametrize("method", sorted(PLAIN_METHODS))
def test_matches_an_independent_library(method, weights, request):
    if weights == "imagenet":
        shared = request.getfixturevalue("shared")
        model = imagenet_network(shared / "weights/mobilenet_v2-imagenet.pth")
        paths = sorted((shared / "data/voc6/JPEGImages").glob("*.jpg"))[:3]
        pixels = [torchvision.io.decode_image(str(path)) for path in paths]
        images = torch.cat([functional.interpolate(photo[None] / 255, (224, 224)) for photo in pixels])
        images = (images - 0.45) / 0.225
    else:
        model, images = imagenet_network(None), torch.randn(3, 3, 128, 128)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    named = {} if method == "saliency" else {"layer": model.features[-1]}
    maps = PLAIN_METHODS[method](model, images, labels[:, None], **named).clamp(min=0)
    maps = functional.interpolate(maps, images.shape[-2:], mode="bilinear")[:, 0].numpy()
    theirs = library_maps(model, method, images, labels)
    for ours, other in zip(maps, theirs, strict=True):
        assert np.corrcoef(ours.ravel(), other.ravel())[0, 1] >= 0.99


def test_every_method_is_registered():
    assert {name: function.__name__ for name, function in METHODS.items()} == {
        name: name for name in ("cam", "grad_cam", "grad_cam_pp", "saliency", "acol")
    }
    assert all(getattr(explain, name) is function for name, function in METHODS.items())
