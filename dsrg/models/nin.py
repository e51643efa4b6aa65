"""Network in network: the first to end in global average pooling, and the CAM paper's NIN (tables 1 and 2).

Lin, Chen and Yan, "Network In Network", ICLR 2014. The layers are those of the ImageNet model that the authors released
for Caffe: four convolutions, each followed by 1 x 1 convolutions, which stride and three pools bring to stride 32. The
last 1 x 1 convolution, to the classes, is the classifier's linear layer here, as if it stood before the pooling: only
that theirs has a ReLU after it, which would make the mean of a map another number than the logit.
"""

from __future__ import annotations

import itertools

from torch import nn

from dsrg.models.architectures import Architecture, Stages, init_convolutions
from dsrg.models.layers import RectifiedMaxPool2d

BLOCKS = ((96, 11, 4, 2), (256, 5, 1, 2), (384, 3, 1, 2), (1024, 3, 1, 1))
"""Filters of all of a block's convolutions; kernel and stride of its first; number of 1 x 1 convolutions after it."""
DROPOUT = 0.5
"""Before the last block."""


def _make() -> nn.Sequential:
    """One block after the other, pools between them; parameters by the number of their layer."""
    layers: list[nn.Module] = []
    for depth, (filters, kernel, stride, further) in zip((3, *(block[0] for block in BLOCKS)), BLOCKS, strict=False):
        if layers:
            layers.append(RectifiedMaxPool2d(3, stride=2))
        if filters == BLOCKS[-1][0]:
            layers.append(nn.Dropout(DROPOUT))
        layers += [nn.Conv2d(depth, filters, kernel, stride, kernel // 2), nn.ReLU(inplace=True)]
        for _ in range(further):
            layers += [nn.Conv2d(filters, filters, 1), nn.ReLU(inplace=True)]
    network = nn.Sequential(*layers)
    init_convolutions(network)
    return network


def _split(network: nn.Sequential) -> Stages:
    """The first convolution halves twice, so that the first stage is empty; every pool opens another."""
    layers = list(network)
    pools = [number for number, layer in enumerate(layers) if isinstance(layer, RectifiedMaxPool2d)]
    return [[], *(layers[first:last] for first, last in itertools.pairwise([0, *pools, len(layers)]))]


NIN = Architecture(_make, _split, (), BLOCKS[-1][0])
