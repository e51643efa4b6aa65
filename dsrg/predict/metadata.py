"""What an exported file says of its network, checked before anything is built by it: such files come from anybody."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Annotated, Any, Literal
from unicodedata import category

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.labels import IGNORE
from dsrg.predict.segmenter import Segmenter, Settings
from dsrg.run import gating
from dsrg.run.networks import deeplab_arguments
from dsrg.schema import Classifier, Model

KEYS = ("architecture", "classes", "settings", "record")
"""Of the metadata, each JSON."""
GATE = "classifier"
"""One more, of a network with a gate: what `dsrg.run.gating.KEYS` names of the section classifier."""
LONGEST = 2**20
"""Characters that one of them may have."""
_FIELDS = {"rates": "aspp_rates", "channels": "aspp_channels"}
"""The configuration's names of what `build_deeplab` calls otherwise."""
_ARCHITECTURE = ("backbone", "num_classes", "output_stride", "rates", "channels", "dropout", "pool_features")
_NEWER = {"neck": True, "standardise": False}
"""What files of older versions do not say, and what it was then."""
_NEWER_GATE = {"convs": 1}
"""Likewise of the gate."""


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if names[0] != "background":
        raise ValueError("the first class must be 'background'")
    if len(set(names)) < len(names):
        raise ValueError("a class is listed twice")
    if any(name != name.strip() or any(category(letter) in ("Cc", "Cs") for letter in name) for name in names):
        raise ValueError("a name holds a control character, or a blank at an end")
    return names


Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[tuple[Name, ...], Field(min_length=2, max_length=IGNORE), AfterValidator(_check_names)]
Text = Annotated[str, Field(max_length=4096)]


def last_part(path: str) -> str:
    """The last name of a path, of any system; what is none stays. Where files lay on a machine is nobody's business."""
    return PureWindowsPath(path).name or path


Place = Annotated[Text, AfterValidator(last_part)]


class Record(BaseModel):
    """What is known of a network's training, for model cards."""

    model_config = ConfigDict(extra="forbid")
    run: Place
    network: Literal["retrain", "dsrg", "supervised"]
    data: Text
    train_split: Place
    val_split: Place
    start: Text
    figures: dict[Text, JsonValue]
    dsrg: Text | None
    commit: Text | None


@dataclass(frozen=True)
class Metadata:
    """What the file says."""

    architecture: dict[str, Any]
    """Keyword arguments of `build_deeplab`."""
    names: tuple[str, ...]
    """The C class names, background first."""
    settings: Settings
    record: dict[str, Any]
    classifier: Classifier | None
    """Of the gate; None where there is none."""


def dump(segmenter: Segmenter) -> dict[str, str]:
    """What an exported file says of its network: KEYS, and GATE where it has one, as JSON."""
    settings = dataclasses.asdict(segmenter.settings)
    values = (segmenter.architecture, segmenter.classes.names, settings, segmenter.record)
    said = dict(zip(KEYS, values, strict=True)) | ({} if segmenter.gate is None else {GATE: segmenter.gate.facts})
    return {key: json.dumps(value) for key, value in said.items()}


def parse(metadata: Mapping[str, str], where: str) -> Metadata:
    """The metadata of a file.

    Args:
        metadata: As `dump` makes them; further keys are not read.
        where: The file, for errors.

    Raises:
        InputError: one is missing, unknown, of another kind or out of bounds; no path may be among them.
    """
    if not set(KEYS) <= metadata.keys():
        raise InputError(f"{where}: was not written by dsrg export, and so does not say what network it is of.")
    gated = GATE in metadata
    keys = (*KEYS, GATE) if gated else KEYS
    for key in keys:
        if len(metadata[key]) > LONGEST:
            raise InputError(f"{where}: its '{key}' has more than {LONGEST:,} characters; export it anew.")
    architecture, classes, settings, record, *classifier = (
        disk.parse_json(metadata[key], f"{where} ({key})", "export it anew") for key in keys
    )
    names: tuple[str, ...] = _valid(TypeAdapter(Names), classes, f"{where}: classes")
    known: Record = _valid(TypeAdapter(Record), record, f"{where}: record")
    return Metadata(
        _architecture(architecture, len(names), where),
        names,
        _valid(TypeAdapter(Settings), settings, f"{where}: settings"),
        known.model_dump(),
        _classifier(classifier[0], where) if gated else None,
    )


def describe(proto: Any, doc: str, said: Mapping[str, str]) -> None:
    """Give an ONNX model its description and metadata, and take from its nodes what the exporter noted of each: the
    lines of files of this machine that it is from."""
    proto.doc_string = doc
    del proto.metadata_props[:]
    for node in (*proto.graph.node, *(inner for function in proto.functions for inner in function.node)):
        node.ClearField("metadata_props")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        value.ClearField("metadata_props")
    for key, text in said.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text


def _architecture(value: Any, num_classes: int, where: str) -> dict[str, Any]:
    """The network's form, within the bounds that a configuration has to keep."""
    value = _NEWER | value if isinstance(value, dict) else value
    _check_keys(value, (*_ARCHITECTURE, *_NEWER), "architecture", where)
    if value["num_classes"] != num_classes:
        raise InputError(f"{where}: has {num_classes} class names for a network of another number; export it anew.")
    fields = {_FIELDS.get(key, key): given for key, given in value.items() if key != "num_classes"}
    own = {"weights": None, "freeze_batch_norm": False}
    model: Model = _valid(TypeAdapter(Model), fields | own, f"{where}: architecture")
    return deeplab_arguments(model, num_classes)


def _classifier(value: Any, where: str) -> Classifier:
    """The gate's form, within the same bounds."""
    value = _NEWER_GATE | value if isinstance(value, dict) else value
    _check_keys(value, gating.KEYS, GATE, where)
    found: Classifier = _valid(TypeAdapter(Classifier), value, f"{where}: {GATE}")
    return found


def _check_keys(value: Any, keys: Sequence[str], name: str, where: str) -> None:
    if not isinstance(value, dict) or set(value) != set(keys):
        wrong = sorted(set(value) ^ set(keys)) if isinstance(value, dict) else ["no mapping"]
        raise InputError(
            f"{where}: its {name} must hold {', '.join(keys)} and nothing else (missing or unknown: "
            f"{', '.join(wrong)[:200]}); export it anew."
        )


def _valid(schema: TypeAdapter[Any], value: Any, where: str) -> Any:
    try:
        return schema.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:200]
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}{'.' if place else ''}{place}: {said}; export it anew.") from None
