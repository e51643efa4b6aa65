"""The networks, images and classes that the tests of `dsrg.explain` share."""

import torch
from torch import nn

from dsrg import tables
from dsrg.explain import cam, grad_cam, grad_cam_pp, saliency
from dsrg.models.acol import ACoL
from dsrg.models.classifier import Classifier

METHODS = {
    name: tables.part(maps.place) for name, maps in tables.MAPS.items() if maps.place.startswith("dsrg.explain:")
}
LAYER_METHODS = {"cam": cam, "grad_cam": grad_cam, "grad_cam_pp": grad_cam_pp}
"""The methods that take a layer."""
PLAIN_METHODS = {**LAYER_METHODS, "saliency": saliency}
"""The methods for networks of one head."""


class Backbone(nn.Sequential):
    """Five features on half the image's grid; every layer that can works in place."""

    out_channels = 5

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 5, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )


class Deep(nn.Module):
    """Fully connected layers behind the features, as VGG16's, so that the gradient differs from cell to cell. The
    features are not rectified: what follows them does so, in place."""

    def __init__(self, hidden: int = 6, classes: int = 4) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(Backbone())[:-1])
        self.head = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.LazyLinear(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(hidden, classes),
        )

    def features(self, images):
        return self.backbone(images)

    def classify(self, features):
        return self.head(features)

    def forward(self, images):
        return self.classify(self.features(images))


def randomise(model, images):
    """Random parameters and batch statistics, large enough for maps with both signs."""
    model(images)  # gives lazy layers their shape
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(0.1, 0.4)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_var.uniform_(0.5, 2)
    return model.eval()


def example(network="gap", batch=3, classes=2, size=8, dtype=torch.float64, seed=0):
    """A network, images and classes, of the sizes in which loops are quick."""
    torch.manual_seed(seed)
    images = torch.randn(batch, 3, size, size, dtype=dtype)
    made = {
        "gap": lambda: Classifier(Backbone(), 4, dropout=0.5),
        "gmp": lambda: Classifier(Backbone(), 4, pooling="max"),
        "deep": Deep,
        "acol": lambda: ACoL(Backbone(), 4, channels=6),
    }[network]()
    return randomise(made.to(dtype), images), images, torch.randint(0, 4, (batch, classes))


def out_of_place(model):
    """The network with its ReLUs out of place, for loops that need what these overwrite."""
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return model


def layer_hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
