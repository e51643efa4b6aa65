"""Adversarial complementary learning: two classifiers, the second of which does not see what the first has found.

Zhang et al., "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR 2018, Sect. 3.2,
Algorithm 1 and Sect. 4.1. A classifier finds an object's most telling part and no more. With that part erased, the
second has to tell the class by the rest of the object, and the two maps together cover more of it.

Shapes: B images, C classes with background, K = C - 1 foreground classes (map k belongs to class k + 1), D features,
h x w cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsrg.models.layers import conv3_relu


class ACoL(nn.Module):
    """A backbone and two classifiers A and B of one form: two 3 x 3 convolutions with ReLU, a 1 x 1 convolution to the
    classes, global average pooling (Sect. 4.1). The 1 x 1 convolution's output are the maps (Sect. 3.1): the mean of a
    map is the class's logit.

    In training B's features are erased where A finds the image's own classes (several tags: where it finds any of
    them), otherwise where A finds the class that it holds for the likeliest. The loss is the sum of both classifiers'.
    A's logits, which need no erasing, are the network's answer, as in the authors' released code.

    Args:
        backbone: Features (B, D, h, w) of images; has `out_channels` = D, and `output_stride`.
        num_foreground: K.
        channels: Filters of each 3 x 3 convolution.
        threshold: delta in 0..1: erased is where A's map, brought to 0..1 over the image, is above it. The paper finds
            0.6 best among 0.5 to 0.9.
    """

    def __init__(
        self, backbone: nn.Module, num_foreground: int, *, channels: int = 1024, threshold: float = 0.6
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.threshold = threshold
        depth: int = backbone.out_channels  # type: ignore[assignment]  # nn.Module types attributes as tensors
        self.branch_a = _branch(depth, channels, num_foreground)
        self.branch_b = _branch(depth, channels, num_foreground)

    def features(self, images: Tensor, cached: bool = False) -> Tensor:
        """The features (B, D, h, w), which both classifiers read, of images (B, 3, H, W) or of what is `cached` of them
        (`Backbone`)."""
        features: Tensor = self.backbone(images, cached) if cached else self.backbone(images)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """A's logits (B, K), before the sigmoid or the softmax, of features (B, D, h, w)."""
        maps: Tensor = self.branch_a(features)
        return maps.mean(dim=(2, 3))

    def forward(self, images: Tensor, tags: Tensor | None = None, cached: bool = False) -> Tensor:
        """Logits, before the sigmoid or the softmax, of images (B, 3, H, W).

        Args:
            images, cached: As in `features`.
            tags: (B, C) bool, in training.

        Returns:
            (B, K), A's; with tags (2, B, K), A's and B's.
        """
        features = self.features(images, cached)
        if tags is None:
            return self.classify(features)
        return torch.stack(self._maps(features, tags[:, 1:])).mean(dim=(3, 4))

    def activation_maps(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """The fused maps (B, K, h, w): the larger of A's and B's at each cell (Sect. 3.2).

        Each of the two is first brought to 0..1 over the image. So every class's fused map, an absent class's too, has
        the maximum 1, and every scale weighs the same when `dsrg.cam.merge_scales` adds them up. Its minimum is above
        0 where A and B are lowest at different cells: what is background is a matter of a higher threshold than CAM's.
        An image's own classes are told by its tags or by `classify`, not by the height of their maps.

        Args:
            images: (B, 3, H, W).
            tags: (B, C) bool, whose classes are erased for B; None erases the class with A's largest logit.
        """
        features = self.features(images)
        maps_a, maps_b = self._maps(features, None if tags is None else tags[:, 1:])
        return torch.maximum(to_unit_range(maps_a), to_unit_range(maps_b))

    @property
    def output_stride(self) -> int:
        """Pixels of the image for each cell of the maps."""
        stride: int = self.backbone.output_stride  # type: ignore[assignment]  # nn.Module types attributes as tensors
        return stride

    @property
    def last_layers(self) -> list[nn.Module]:
        """The layers without ImageNet weights, which learn at a higher rate."""
        return [self.branch_a, self.branch_b]

    def _maps(self, features: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """A's and B's maps, (B, K, h, w) each; `own` (B, K) bool tells what to erase, None the likeliest class."""
        maps_a: Tensor = self.branch_a(features)
        if own is None:
            likeliest = maps_a.mean(dim=(2, 3)).argmax(dim=1)
            own = functional.one_hot(likeliest, maps_a.shape[1]).bool()
        return maps_a, self.branch_b(erase(features, maps_a, own, self.threshold))


def to_unit_range(maps: Tensor) -> Tensor:
    """Each map (B, K, h, w) moved and scaled so that it covers 0..1; a map of equal values becomes zero."""
    lowest = maps.amin(dim=(2, 3), keepdim=True)
    spread = maps.amax(dim=(2, 3), keepdim=True) - lowest
    return (maps - lowest) / torch.where(spread > 0, spread, 1)


def erase(features: Tensor, maps: Tensor, own: Tensor, threshold: float) -> Tensor:
    """The features with zeros at every cell where the map of one of the image's own classes is above the threshold.

    No gradient reaches the maps: what is erased is a choice, not a quantity.

    Args:
        features: (B, D, h, w).
        maps: (B, K, h, w) of any range; each is brought to 0..1 here.
        own: (B, K) bool.
        threshold: In 0..1; 1 erases nothing.

    Returns:
        (B, D, h, w).
    """
    found = (to_unit_range(maps.detach()) > threshold) & own[:, :, None, None]
    return features.masked_fill(found.any(dim=1, keepdim=True), 0)


def _branch(depth: int, channels: int, num_foreground: int) -> nn.Sequential:
    scores = nn.Conv2d(channels, num_foreground, 1)
    nn.init.normal_(scores.weight, std=0.01)
    assert scores.bias is not None
    nn.init.zeros_(scores.bias)
    return nn.Sequential(conv3_relu(depth, channels), conv3_relu(channels, channels), scores)
