"""Where a classifier looked: CAM, Grad-CAM, Grad-CAM++, back-propagation saliency and ACoL's maps.

Each is a function of (model, images, classes), with a line in `tables.MAPS`, that works on a whole batch and leaves the
network as it was: no hook, no gradient on a parameter, the mode (training or evaluation) of every layer and the
caller's gradient mode untouched, also when the network raises. The network runs in evaluation mode: there no image's
score depends on another image, so that one backward pass gives the gradients of all images.

A network either has `features(images) -> (B, D, h, w)` and `classify(features) -> (B, K)`, or the caller names the
`layer` of any network whose output is to be explained, (B, D, h, w). What comes before the features runs once a batch
and without a graph; only what follows them is differentiated, once for each of the M classes. With a linear layer
after global pooling Grad-CAM so costs hardly more than the forward pass.

The score S^c is always the logit. A softmax in the score would mix the other classes' evidence into the map, and both
it and a sigmoid have no gradient left where the network is sure.

Shapes: B images, M classes asked of each, K classes that the network knows, D features on a grid of h x w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

Method = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""From a network, images (B, 3, H, W) and classes (B, M) to maps (B, M, h, w)."""
_Weigh = Callable[[Tensor, Tensor], Tensor]


def cam(model: nn.Module, images: Tensor, classes: Tensor, *, layer: nn.Module | None = None) -> Tensor:
    """Class activation maps, sum_k w_k^c f_k (Zhou et al. 2016, "Learning deep features for discriminative
    localization", Sect. 2, Eq. 2).

    Only for networks that end in global pooling and one linear layer. That layer is the network's own `linear`, or else
    its only `nn.Linear`. No bias, no ReLU: with average pooling the mean of a map plus the bias is the logit.

    Args:
        model: The network.
        images: (B, 3, H, W), normalised.
        classes: (B, M) integers, columns of the logits; classes[:, None] where there is one an image.
        layer: The layer whose output is pooled, in a network without `features` and `classify`.

    Returns:
        (B, M, h, w) raw maps with negative values, float32 (float64 from a float64 network), without a graph.

    Raises:
        ValueError: the shapes do not fit, a class is out of range, or the network is not of this form.
    """
    _check_inputs(images, classes)
    with _undisturbed(model):
        fresh = _fresh(images)
        features = _own_features(model, fresh) if layer is None else _split_at(layer, model, fresh)[0]
        linear = _linear_layer(model, features.shape[1])
        index = _checked_classes(classes, linear.out_features, features.device)
        return _weighted_sum(linear.weight.detach()[index], features)


def grad_cam(model: nn.Module, images: Tensor, classes: Tensor, *, layer: nn.Module | None = None) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based
    localization"): ReLU(sum_k alpha_k^c A^k), Eq. 2, with alpha_k^c the mean of dS^c / dA^k over the grid, Eq. 1.

    Behind global average or maximum pooling and one linear layer it is ReLU(CAM) / (h w).

    Args:
        model, images, classes: As in `cam`.
        layer: The layer to explain, of any network; it must be called in the forward pass, and where it is called
            several times the last call counts. None for the network's own `features`.

    Returns:
        (B, M, h, w), not negative, not normalised, float32 (float64 from a float64 network), without a graph.

    Raises:
        ValueError: the shapes do not fit, a class is out of range, or the logits do not depend on the layer.
    """
    return _gradient_maps(model, images, classes, layer, lambda _, gradient: gradient.mean(dim=(2, 3)))


def grad_cam_pp(model: nn.Module, images: Tensor, classes: Tensor, *, layer: nn.Module | None = None) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, "Grad-CAM++: generalized gradient-based visual explanations for deep
    convolutional networks"): ReLU(sum_k w_k^c A^k) with w_k^c = sum_ij alpha_ij^kc ReLU(dY^c / dA_ij^k).

    The alphas hold the second and third derivatives of Y^c (Eq. 10). With Y^c = exp(S^c) and a network that is linear
    by pieces, S^c has no second derivative, and those of Y^c are powers of the first: exp(S^c) g^n with g = dS^c / dA.
    So one backward pass is enough (Eq. 19):

        alpha_ij = g_ij^2 / (2 g_ij^2 + g_ij^3 sum_ab A_ab)

    The factor exp(S^c) cancels in alpha and is left out of w: above a logit of 88 it overflows, and by it the scale or
    mirror image with the largest logit would alone decide what maps of one photograph add up to. Each map is so the
    paper's up to a positive factor. The paper's A is rectified; for features that are not, the denominator can come
    near zero, as it can in the paper's formula.

    Args, Returns, Raises: As in `grad_cam`.
    """
    return _gradient_maps(model, images, classes, layer, _plus_plus_weights)


def saliency(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Back-propagation saliency (Simonyan et al. 2014, "Deep inside convolutional networks", Sect. 3.1): the largest
    |dS^c / d pixel| over the colour channels.

    It needs the graph of the whole network, so its time and memory are those of a training step without update.

    Args:
        model, images, classes: As in `cam`; any network from images to logits (B, K).

    Returns:
        (B, M, H, W) at the images' own size, not negative, float32 (float64 from a float64 network), without a graph.

    Raises:
        ValueError: the shapes do not fit, a class is out of range, or the logits do not depend on the pixels.
    """
    _check_inputs(images, classes)
    with _undisturbed(model):
        leaf = _fresh(images).requires_grad_()
        with torch.enable_grad():
            logits = _logits(model, leaf.clone())  # a copy: the first layer may work in place, which a leaf forbids
        index = _checked_classes(classes, logits.shape[1], logits.device)
        maps = leaf.new_empty(*index.shape, *images.shape[-2:], dtype=_at_least_float32(leaf.dtype))
        for number, gradient in enumerate(_gradients(logits, leaf, index)):
            maps[:, number] = gradient.abs().amax(dim=1)
        return maps


def acol(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """The fused maps of a network with ACoL's two classifiers (`dsrg.models.acol`, Zhang et al. 2018), which erase the
    class that the network holds for the likeliest.

    Args:
        model, images, classes: As in `cam`.

    Returns:
        (B, M, h, w) in 0..1, float32 (float64 from a float64 network), without a graph.

    Raises:
        ValueError: the shapes do not fit, a class is out of range, or the network has no such head.
    """
    _check_inputs(images, classes)
    # Every classifier here has activation_maps; the second branch is what makes ACoL's the fused ones.
    if not (hasattr(model, "branch_b") and callable(getattr(model, "activation_maps", None))):
        raise ValueError(f"{type(model).__name__} has no ACoL head; train one with the head acol, or use grad_cam.")
    with _undisturbed(model):
        maps: Tensor = model.activation_maps(_fresh(images))  # type: ignore[operator]
        index = _checked_classes(classes, maps.shape[1], maps.device)
        picked = maps.gather(1, index[:, :, None, None].expand(-1, -1, *maps.shape[-2:]))
        return picked.to(_at_least_float32(maps.dtype))


def _gradient_maps(model: nn.Module, images: Tensor, classes: Tensor, layer: nn.Module | None, weigh: _Weigh) -> Tensor:
    """ReLU of the features' weighted sums; `weigh` makes weights (B, D) of features and gradient (B, D, h, w)."""
    _check_inputs(images, classes)
    with _undisturbed(model):
        fresh = _fresh(images)
        features, logits = _split(model, fresh) if layer is None else _split_at(layer, model, fresh)
        index = _checked_classes(classes, logits.shape[1], logits.device)
        dtype = _at_least_float32(features.dtype)
        values = features.detach().to(dtype)
        weights = values.new_empty(*index.shape, values.shape[1])
        for number, gradient in enumerate(_gradients(logits, features, index)):
            weights[:, number] = weigh(values, gradient.to(dtype))
        return _weighted_sum(weights, values).relu_()


def _plus_plus_weights(features: Tensor, gradient: Tensor) -> Tensor:
    """sum_ij alpha_ij ReLU(g_ij). Where g > 0 a g^2 cancels, alpha_ij = 1 / (2 + g_ij sum_ab A_ab), which spares g^3:
    it vanishes in float32 below 1e-15, and gradients behind average pooling are small."""
    denominator = 2 + gradient * features.sum(dim=(2, 3), keepdim=True)
    counts = (gradient > 0) & (denominator != 0)
    return torch.where(counts, gradient / denominator, 0).sum(dim=(2, 3))


def _weighted_sum(weights: Tensor, features: Tensor) -> Tensor:
    """sum_d weights (B, M, D) features (B, D, h, w), in at least float32, under autocast too: (B, M, h, w)."""
    dtype = _at_least_float32(features.dtype)
    with torch.autocast(features.device.type, enabled=False):
        return torch.einsum("bmd,bdhw->bmhw", weights.to(dtype), features.to(dtype))


def _split(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The network's own features, a leaf that takes a gradient, and the logits as a function of them."""
    features = _own_features(model, images)
    device = features.device.type
    if torch.is_autocast_enabled(device):
        features = features.float()  # the head is cheap: in full precision its gradients do not underflow
    with torch.enable_grad(), torch.autocast(device, enabled=False):
        leaf = features.detach().requires_grad_()
        logits = _checked_logits(model.classify(leaf.clone()))  # type: ignore[operator]  # a copy: see `saliency`
    return leaf, logits


def _own_features(model: nn.Module, images: Tensor) -> Tensor:
    if not all(callable(getattr(model, name, None)) for name in ("features", "classify")):
        raise ValueError(f"{type(model).__name__} has no features() and classify(); name the layer to explain.")
    return _checked_features(model.features(images))  # type: ignore[operator]


def _split_at(layer: nn.Module, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's output, a leaf that takes a gradient, and the logits as a function of it."""
    with _cut_at(layer) as leaves, torch.enable_grad():
        logits = _logits(model, images)
    if not leaves:
        raise ValueError(f"the layer {type(layer).__name__} was not called; name one that the forward pass uses.")
    return leaves[0], logits


@contextmanager
def _cut_at(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, the graph begins anew at the layer's output: at a leaf, which is put into the list."""
    leaves: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        leaves[:] = [_checked_features(output).detach().requires_grad_()]
        with torch.enable_grad():  # a network may switch it off for its frozen layers, as our backbones do
            return leaves[0].clone()  # a copy: the layer that follows may work in place

    handle = layer.register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """The network's logits (B, K). Its parameters stand in without their gradient, so that there is a graph behind the
    images or a cut only, and none to hold what comes before."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return _checked_logits(functional_call(model, parameters, (images,)))


def _gradients(logits: Tensor, leaf: Tensor, classes: Tensor) -> Iterator[Tensor]:
    """d logits[b, classes[b, m]] / d leaf[b], like the leaf, for one m after the other."""
    picks = functional.one_hot(classes, logits.shape[1]).to(logits.dtype)
    for number in range(classes.shape[1]):
        more = number + 1 < classes.shape[1]
        gradient = None
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(logits, leaf, picks[:, number], retain_graph=more, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "the logits do not depend on what is to be explained: it leads nowhere, or a no_grad or detach in the "
                "network cuts it off; name another layer."
            )
        yield gradient


def _linear_layer(model: nn.Module, depth: int) -> nn.Linear:
    """The linear layer after the pooling."""
    own = getattr(model, "linear", None)
    found = [own] if isinstance(own, nn.Linear) else [part for part in model.modules() if isinstance(part, nn.Linear)]
    if len(found) != 1 or found[0].in_features != depth:
        raise ValueError(
            f"CAM needs {depth} pooled features and one linear layer, which {type(model).__name__} does not have; "
            "use grad_cam."
        )
    return found[0]


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without a graph, whatever the caller's mode; both are put back."""
    # The flags alone: a network's own train() may do more, as our backbones', and that could not be undone.
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _fresh(images: Tensor) -> Tensor:
    """A copy of the images without a graph. The first layer may work in place and must not reach the caller's; and
    what was made in inference mode may not enter a graph itself."""
    return images.detach().clone()


def _check_inputs(images: Tensor, classes: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images must be floating point (B, 3, H, W), not {images.dtype} {tuple(images.shape)}.")
    integers = not (classes.is_floating_point() or classes.dtype == torch.bool)
    if classes.ndim != 2 or len(classes) != len(images) or not integers:
        raise ValueError(
            f"classes must be integers ({len(images)}, M), not {classes.dtype} {tuple(classes.shape)}; "
            "give classes[:, None] where there is one an image."
        )


def _checked_classes(classes: Tensor, count: int, device: torch.device) -> Tensor:
    """The classes (B, M) as int64 on the device. Reading their range waits for it: an index out of range would
    otherwise end the process's use of a GPU."""
    index = classes.to(device, torch.int64, copy=True)
    lowest, highest = (int(index.min()), int(index.max())) if index.numel() else (0, 0)
    if lowest < 0 or highest >= count:
        raise ValueError(f"classes must be in 0..{count - 1}, not {lowest}..{highest}.")
    return index


def _checked_features(features: object) -> Tensor:
    if not isinstance(features, Tensor) or features.ndim != 4:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"the features to explain must be a tensor (B, D, h, w), not {shape}; name another layer.")
    return features


def _checked_logits(logits: object) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the network must give logits (B, K), not {shape}.")
    return logits


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
