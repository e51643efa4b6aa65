"""Values are read by their field's type, by both doors: a file and key=value; and within bounds."""

import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrg import config, schema, typed_yaml
from dsrg.errors import InputError
from dsrg.schema import Config

FORMS = (
    *("2024-01-05", "2024-99-99", "2024-01-05 10:00:00", "0123", "0x1F", "1_000", "3:21:05", "1e5", "-7", ".5", ".inf"),
    *("true", "no", "on", "a #2", "a: b", "{x}", "[1, 2]", "&a", "*a", "!x", "%TAG", "@at", "`tick`", "|", ">", "- a"),
    *("a=b", "lr=3", " before", "after ", "it's", '"quoted"', "'0123'", "a\\b", "Krähe", "猫", "🐈", "?", "=", "<<"),
)
"""Names of folders that YAML takes for something else, or for nothing."""
TEXTS = ("data.root", "data.train_split", "data.classes", "model.weights", "seeds.saliency_dir", "run_dir", "device")
"""Keys of paths and texts, those that may be null too."""


def value_of(cfg: Config, key: str) -> Any:
    value: Any = cfg
    for name in key.split("."):
        value = getattr(value, name)
    return value


def given_by_override(folder: Path, key: str, text: str) -> Config:
    del folder
    return config.load(None, [f"{key}={text}"])


def given_by_file(folder: Path, key: str, text: str) -> Config:
    """The text as a plain word of a YAML file."""
    (folder / "run.yaml").write_text("".join(f"{name}:\n  " for name in key.split("."))[:-3] + f" {text}\n")
    return config.load(folder / "run.yaml")


DOORS = [given_by_override, given_by_file]


@pytest.mark.parametrize("text", FORMS)
@pytest.mark.parametrize("key", TEXTS)
def test_an_override_of_a_text_or_path_is_taken_as_it_stands(key: str, text: str) -> None:
    assert str(value_of(config.load(None, [f"{key}={text}"]), key)) == text


@pytest.mark.parametrize("text", [*FORMS[:14], "a=b", "Krähe", "猫", "it's", "a\\b"])
@pytest.mark.parametrize("key", TEXTS)
def test_a_plain_word_of_a_file_keeps_its_letters(tmp_path: Path, key: str, text: str) -> None:
    assert str(value_of(given_by_file(tmp_path, key, text), key)) == text


@pytest.mark.parametrize("text", FORMS)
def test_what_a_run_writes_down_is_what_it_reads(tmp_path: Path, text: str) -> None:
    cfg = config.load(None, [f"{key}={text}" for key in TEXTS])
    (tmp_path / "config.yaml").write_text(config.dump(cfg), encoding="utf-8")
    assert config.load(tmp_path / "config.yaml") == cfg


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_text_comes_through_both_doors(text: str) -> None:
    cfg = config.load(None, [f"data.train_split={text}", f"model.weights={text}", f"data.root={text}"])
    assert cfg.data.train_split == text
    assert cfg.data.root == Path(text)
    assert cfg.model.weights == (None if text in ("null", "~") else text)
    assert Config.model_validate(typed_yaml.parse(config.dump(cfg), Config)) == cfg


def test_a_name_that_is_not_utf_8_comes_through(tmp_path: Path) -> None:
    name = os.fsdecode(b"k\xe4se")
    cfg = config.load(None, [f"data.root={name}"])
    assert os.fsencode(cfg.data.root) == b"k\xe4se"
    (tmp_path / "config.yaml").write_text(config.dump(cfg), encoding="utf-8")
    assert config.load(tmp_path / "config.yaml").data.root == cfg.data.root


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("word", ["null", "~"])
def test_null_is_none_only_where_there_may_be_none(tmp_path: Path, door: Callable[..., Config], word: str) -> None:
    assert door(tmp_path, "seeds.saliency_dir", word).seeds.saliency_dir is None
    assert door(tmp_path, "shared", word).shared is None
    assert door(tmp_path, "data.root", word).data.root == Path(word)
    assert door(tmp_path, "data.val_split", word).data.val_split == word


def test_a_quoted_null_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("shared: 'null'\n")
    assert config.load(tmp_path / "run.yaml").shared == Path("null")


def test_a_key_without_a_value_is_not_the_current_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data.root = None does not fit"):
        given_by_file(tmp_path, "data.root", "")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "0123", 123),
        ("seed", "0x1F", 31),
        ("dsrg.lr", "1e-3", 1e-3),
        ("cam.scales", "[1, .5e0]", (1.0, 0.5)),
        ("cam.size", "null", None),
        ("amp", "true", True),
        ("data.classes", "voc", "voc"),
        ("grow.on", "softmax", "softmax"),
        ("model.output_stride", "16", 16),
    ],
)
def test_numbers_lists_and_truth_values_are_yaml(
    tmp_path: Path, door: Callable[..., Config], key: str, text: str, value: object
) -> None:
    found = value_of(door(tmp_path, key, text), key)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("key", "text"),
    [("seed", "2024-01-05"), ("seed", "3:21"), ("seed", "true"), ("workers", "false"), ("cam.scales", "[true]")],
)
def test_what_is_no_number_is_not_taken_for_one(
    tmp_path: Path, door: Callable[..., Config], key: str, text: str
) -> None:
    with pytest.raises(InputError, match=f"{key} = '{text.strip('[]')}' does not fit"):
        door(tmp_path, key, text)


HUGE = "9" * 5000
DEEP = "[" * 50_000


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("seed", DEEP),
        ("seed", "[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]"),
        ("seed", "{a: " * 2000),
        ("seed", HUGE),
        ("seed", f"0x{HUGE}"),
        ("dsrg.lr", HUGE),
        ("dsrg.lr", ".inf"),
        ("dsrg.lr", "1e999"),
        ("dsrg.lr", "1e9"),
        ("data.root", "x" * 100_000),
        ("data.root", "a\0b"),
        ("seed", '"\\UFFFFFFFF"'),
        ("seed", "!!python/object/apply:os.system [true]"),
        ("seed", "!!timestamp soon"),
        ("seed", "!!bool maybe"),
        ("seed", "!!set {a, b}"),
        ("model.aspp_rates", f"[{', '.join(['6'] * 1000)}]"),
        ("model.aspp_rates", f"[{', '.join(['6'] * 30_000)}]"),
        ("model.aspp_rates", "[1000000000]"),
        ("model.aspp_channels", "1000000"),
        ("cam.scales", "[1e9]"),
        ("cam.scales", "[1e-9]"),
        ("cam.scales", f"[{', '.join(['1'] * 100)}]"),
        ("test.size", "1000000000"),
        ("dsrg.size", "1000000"),
        ("dsrg.batch", "1000000"),
        ("crf.iterations", "1000000"),
        ("classifier.conv", "1000000"),
        ("classifier.acol_channels", "1000000"),
        ("workers", "100000"),
        ("localize.saliency_blur", "1e300"),
    ],
    ids=lambda text: str(text)[:30].replace("\0", "NUL"),
)
def test_what_cannot_be_meant_is_refused_at_once(
    tmp_path: Path, door: Callable[..., Config], key: str, text: str
) -> None:
    refused_quickly(lambda: door(tmp_path, key, text))


def test_aliases_of_aliases_are_counted_before_they_are_built(shared: Path) -> None:
    assert "holds more than 4,000 values" in refused_quickly(
        lambda: config.load(shared / "cases/files/yaml_alias_bomb.yaml")
    )


@pytest.mark.parametrize(
    "text",
    [
        "seed: &a [*a]",
        "seed: &a {x: *a}",
        "&a x: *a\ny: [" + "*a, " * 20_000 + "]",
        "".join(f"x{number}: &a{number} [{f'*a{number - 1}' if number else ''}]\n" for number in range(2000)),
        "dsrg: &a {lr: 1}\nretrain:\n  <<: [" + "*a, " * 20_000 + "]",
        "".join(f"a{number}: 1\n" for number in range(20_000)),
    ],
    ids=["itself", "itself in a section", "many", "a chain", "merged", "keys"],
)
def test_a_file_that_stands_for_too_much_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert str(tmp_path / "run.yaml") in refused_quickly(lambda: config.load(tmp_path / "run.yaml"))


def test_a_merged_section_takes_the_others_values(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("dsrg: &a {lr: 0.1, batch: 4}\nclassifier:\n  <<: *a\n  batch: 8\n")
    cfg = config.load(tmp_path / "run.yaml")
    assert (cfg.classifier.lr, cfg.classifier.batch, cfg.dsrg.batch) == (0.1, 8, 4)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_circle_of_links(path: Path) -> None:
    path.symlink_to(path)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_large_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def a_file_with_a_nul(path: Path) -> None:
    path.write_bytes(b"seed: 1\0")


def a_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("extended", [False, True], ids=["cfg", "extends"])
@pytest.mark.parametrize(
    "make", [a_fifo, a_device, a_circle_of_links, a_folder, a_large_file, a_file_with_a_nul, a_broken_link]
)
def test_only_regular_files_of_a_sane_size_are_read(
    tmp_path: Path, make: Callable[[Path], None], extended: bool
) -> None:
    path = tmp_path / "odd.yaml"
    make(path)
    (tmp_path / "top.yaml").write_text("extends: odd.yaml\n")
    assert str(path) in refused_quickly(lambda: config.load(tmp_path / "top.yaml" if extended else path))


def test_a_long_chain_of_files_is_refused(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    assert "more than 10 files extend each other" in refused_quickly(lambda: config.load(tmp_path / "0.yaml"))


@pytest.mark.parametrize("name", ["5", "2024-01-05", "a #2"])
def test_extends_names_a_file_by_its_letters(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("seed: 7\n")
    quoted = f"'{name}'" if "#" in name else name
    (tmp_path / "top.yaml").write_text(f"extends: {quoted}\n")
    assert config.load(tmp_path / "top.yaml").seed == 7


def test_every_key_has_a_type_that_the_rule_knows() -> None:
    """A key added later is text, or a number, list or truth value; none is both."""
    for key in config.known_keys():
        leaves = set(typed_yaml._leaves(config._kind(key)))
        assert not (leaves & {str, Path} and leaves & {int, float, bool}), key


def test_every_number_has_an_upper_bound() -> None:
    """Lists have a largest length too."""

    def check(section: type[schema.Section]) -> None:
        for name, field in section.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, schema.Section):
                check(field.annotation)
            elif set(typed_yaml._leaves(field.annotation)) & {int, float}:
                bounds = str(field)
                assert "Le(" in bounds or "Lt(" in bounds or "Literal" in bounds, name
            elif "tuple" in str(field.annotation):
                assert any(bound in str(field) for bound in ("le=", "Le(", "max_length=")), name

    check(Config)


def refused_quickly(load: Callable[[], object]) -> str:
    """The one short sentence, which came in a few seconds and a few megabytes."""
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(InputError) as caught:
            load()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 10
    assert peak < 64 * 2**20
    message = str(caught.value)
    assert len(message) < 600
    return message
