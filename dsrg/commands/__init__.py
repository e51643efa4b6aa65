"""One file a command; its name has hyphens for underscores."""

GROUPS = {
    "your photographs": ("prepare-data", "check-data", "run-pipeline", "predict", "demo-app", "export"),
    "stages": (
        "train-classifier", "make-saliency", "make-seeds", "train-dsrg", "make-masks", "retrain", "train-supervised",
    ),
    "look closer": (
        "report", "show-cams", "show-units", "show-objects", "show-failures", "debug-cams", "localize", "probe", "vqa",
        "compare-seeds", "compare-masks", "ablate", "simulate-corrections",
    ),
    "data in and out": ("eval-miou", "import-cues", "pick", "import-masks", "make-boxes", "make-demo-data"),
    "help": ("doctor",),
}  # fmt: skip
"""The commands as `dsrg --help` lists them."""
