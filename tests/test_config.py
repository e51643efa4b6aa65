"""Every way into the configuration: shipped files, overrides, layered files, and what is refused."""

from pathlib import Path

import pytest
from config_files import Write, refusal, writer

from dsrg import config, schema

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "configs").glob("**/*.yaml"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


def test_there_are_shipped_files() -> None:
    assert len(SHIPPED) >= 1


@pytest.mark.parametrize("path", SHIPPED, ids=[str(path.relative_to(ROOT)) for path in SHIPPED])
def test_every_shipped_file_loads(path: Path) -> None:
    loaded = config.load(path)
    assert loaded.run_dir != schema.Config().run_dir, "two configurations would share a run folder"
    assert not loaded.run_dir.is_absolute()


def test_shipped_files_write_to_run_folders_of_their_own() -> None:
    folders = [config.load(path).run_dir for path in SHIPPED]
    assert len(set(folders)) == len(folders)


def test_defaults_are_the_published_settings(write: Write) -> None:
    loaded = config.load(write(""))
    assert loaded == schema.Config()
    assert (loaded.dsrg.iterations, loaded.dsrg.batch, loaded.dsrg.size) == (8000, 20, 321)
    assert (loaded.grow.theta_fg, loaded.grow.theta_bg) == (0.85, 0.99)
    assert loaded.model.aspp_rates == (6, 12, 18, 24)
    assert (loaded.retrain.lr, loaded.retrain.schedule, loaded.retrain.resize) == (1e-3, "poly", "crop")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("5E-2", 5e-2), ("1.5e-3", 1.5e-3), (".5e-1", 0.05), ("2e+1", 20.0), ("3", 3.0)]
)
def test_numbers_with_an_exponent_are_numbers(write: Write, text: str, value: float) -> None:
    loaded = config.load(write(f"dsrg: {{lr: {text}}}"), [f"retrain.lr={text}"])
    assert loaded.dsrg.lr == loaded.retrain.lr == value
    assert isinstance(loaded.dsrg.lr, float)


def test_an_id_that_only_looks_like_a_number_stays_text(write: Write) -> None:
    assert config.load(write("data: {train_split: 'train_1e3'}")).data.train_split == "train_1e3"
    assert config.load(write("data: {train_split: e1}")).data.train_split == "e1"


def test_overrides_win_and_leave_the_rest(write: Write) -> None:
    path = write("dsrg: {lr: 0.1, batch: 4}\nseed: 3")
    loaded = config.load(path, ["dsrg.lr=1e-3", "model.weights=null", "cam.scales=[1, 2]", "data.root=my photos"])
    assert (loaded.dsrg.lr, loaded.dsrg.batch, loaded.seed) == (1e-3, 4, 3)
    assert loaded.model.weights is None
    assert loaded.cam.scales == (1.0, 2.0)
    assert loaded.data.root == Path("my photos")


def test_an_override_of_sections_that_share_an_anchor_changes_one(write: Write) -> None:
    path = write("dsrg: &same {lr: 0.1}\nretrain: *same\n")
    cfg = config.load(path, ["dsrg.lr=0.2"])
    assert (cfg.dsrg.lr, cfg.retrain.lr) == (0.2, 0.1)


def test_the_last_of_two_overrides_wins(write: Write) -> None:
    assert config.load(write(""), ["seed=1", "seed=2"]).seed == 2


def test_an_override_may_hold_an_equals_sign(write: Write) -> None:
    assert config.load(write(""), ["run_dir=runs/lr=3"]).run_dir == Path("runs/lr=3")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dsrg.lr", "'dsrg.lr': an override is written key=value"),
        ("=3", "'=3': an override is written key=value"),
        ("dsrg.lr=[1", "'dsrg.lr=[1': the value is not valid YAML"),
        ("data.root=", "'data.root=': has no value"),
        ("cam.size=", "'cam.size=': has no value"),
        ("seed.x=3", "'seed.x=3': 'seed' is a value, not a section"),
        ("dsrg.lr=0", "dsrg.lr = 0 does not fit"),
        ("dsrg.lr=.nan", "dsrg.lr = nan does not fit"),
        ("dsrg.size=big", "dsrg.size = 'big' does not fit"),
        ("model.aspp_rates=[1, 0]", "model.aspp_rates = 0 does not fit"),
        ("cam.scales=[]", "cam.scales = [] does not fit"),
        ("seed=-1", "seed = -1 does not fit"),
        (f"seed={2**31}", f"seed = {2**31} does not fit"),
        ("model.backbone=vgg17", "model.backbone = 'vgg17' does not fit: input should be 'mobilenet_v2'"),
        ("dsrg.lrate=1", "unknown key 'dsrg.lrate'; did you mean 'dsrg.lr'?"),
    ],
)
def test_refuses_an_override_and_says_which(write: Write, override: str, message: str) -> None:
    assert message in refusal(write("seed: 0"), override)


@pytest.mark.parametrize(
    ("text", "unknown", "near"),
    [
        ("model: {backboan: vgg16}", "model.backboan", "model.backbone"),
        ("dsrg: {iteration: 5}", "dsrg.iteration", "dsrg.iterations"),
        ("classifer: {lr: 1}", "classifer", "classifier"),
        ("retrian: {lr: 1}", "retrian", "retrain"),
        ("retrain: {theta_fg: 0.5}", "retrain.theta_fg", "grow.theta_fg"),  # the wrong section
        ("cam: {alpha: 4}", "cam.alpha", "seeds.alpha"),  # although cam.scales resembles it more
        ("train_split: trainaug", "train_split", "data.train_split"),
        ("data: {run_dir: runs/x}", "data.run_dir", "run_dir"),
    ],
)
def test_an_unknown_key_names_the_nearest(write: Write, text: str, unknown: str, near: str) -> None:
    path = write(text)
    assert refusal(path) == f"{path}: unknown key '{unknown}'; did you mean '{near}'?"


def test_an_unknown_key_like_none_names_the_documentation(write: Write) -> None:
    assert "unknown key 'zzz'; see docs/" in refusal(write("zzz: 1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dsrg: {lr: 1, lr: 2}", "the key 'lr' is given twice"),
        ("seed: 1\nrun_dir: a\nseed: 1", "the key 'seed' is given twice"),
        ("a: b: c", "not valid YAML"),
        ("[1, 2]", "a configuration is a list of 'key: value' lines"),
        ("seeds", "a configuration is a list of 'key: value' lines"),
        ("dsrg: 3", "dsrg = 3 does not fit"),
        ("1: 2", "keys should be strings"),
        ("extends: [a.yaml]", "extends = ['a.yaml'] does not fit"),
    ],
)
def test_refuses_a_broken_file_and_names_it(write: Write, text: str, message: str) -> None:
    path = write(text)
    assert (said := refusal(path)).startswith(f"{path}: ")
    assert message in said


def test_refuses_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.yaml").startswith(f"{tmp_path / 'no.yaml'}: the configuration cannot be read")
    assert refusal(tmp_path) == f"{tmp_path}: is a folder; the configuration must be a file."
    (tmp_path / "latin.yaml").write_bytes(b"run_dir: k\xe4se")
    assert refusal(tmp_path / "latin.yaml").startswith(f"{tmp_path / 'latin.yaml'}: the configuration is not in UTF-8")


def test_a_section_without_keys_keeps_the_defaults_and_takes_overrides(write: Write) -> None:
    path = write("dsrg:\n  # lr: 1\nseed: 3")
    assert config.load(path).dsrg == schema.Config().dsrg
    assert config.load(path, ["dsrg.lr=0.5"]).dsrg.lr == 0.5


def test_extends_overlays_key_by_key(write: Write) -> None:
    write("seed: 1\ndsrg: {lr: 0.1, batch: 4}\ncam: {scales: [1, 2]}", "base.yaml")
    write("extends: ../base.yaml\ndsrg: {lr: 0.2}", "sub/middle.yaml")
    path = write("extends: sub/middle.yaml\nseed: 2\ncam: {scales: [3]}\ndsrg:", "top.yaml")
    loaded = config.load(path, ["dsrg.momentum=0.5"])
    assert (loaded.seed, loaded.dsrg.lr, loaded.dsrg.batch, loaded.dsrg.momentum) == (2, 0.2, 4, 0.5)
    assert loaded.cam.scales == (3.0,)


@pytest.mark.parametrize("name", ["voc6/mobilenet_v2_stride8", "voc6/mobilenet_v2_stride8.yaml"])
def test_a_preset_is_found_by_name_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.load(name) == config.load(ROOT / "configs/voc6/mobilenet_v2_stride8.yaml")  # its `extends` as well
    assert config.load(name, ["seed=3"]).seed == 3


def test_a_file_of_ones_own_goes_before_a_preset(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("seed: 7", "own/mobilenet_v2.yaml")
    monkeypatch.chdir(tmp_path)
    assert config.load("own/mobilenet_v2.yaml").seed == 7
    assert config.load("own/mobilenet_v2").seed == 0


def test_extends_may_name_a_preset(write: Write) -> None:
    loaded = config.load(write("extends: own/mobilenet_v2\nseed: 7"))
    assert loaded == config.load("own/mobilenet_v2", ["seed=7"])


def test_the_presets_are_the_shipped_files() -> None:
    assert list(config.presets().values()) == SHIPPED
    assert "own/mobilenet_v2" in config.presets()


def test_a_misspelt_preset_names_the_nearest_and_any_other_name_all_of_them() -> None:
    assert refusal(Path("own/mobilenetv2")).endswith("did you mean the preset own/mobilenet_v2?")
    assert all(name in refusal(Path("xyzzy")) for name in config.presets())


def test_extends_in_a_circle_is_refused(write: Write) -> None:
    own = write("extends: own.yaml", "own.yaml")
    assert refusal(own) == f"{own}: 'extends' leads back to the file itself; remove the circle."
    write("extends: two.yaml", "one.yaml")
    assert "remove the circle" in refusal(write("extends: one.yaml", "two.yaml"))


def test_a_missing_base_is_named(write: Write, tmp_path: Path) -> None:
    assert str(tmp_path / "no.yaml") in refusal(write("extends: no.yaml"))


def test_dump_is_what_load_reads(write: Write) -> None:
    given = config.load(
        write("run_dir: runs/Krähe\nmodel: {backbone: resnet18, weights: 'on'}\ncam: {scales: [1, 1.5], size: null}"),
        [
            "dsrg.lr=1e-7",
            "dsrg.scale=[0.7, 1.5]",
            "data.train_split='0123'",
            "seeds.saliency_dir=maps",
            "seed=2147483647",
        ],
    )
    assert config.load(write(config.dump(given), "again.yaml")) == given
    assert config.load(write(config.dump(schema.Config()), "defaults.yaml")) == schema.Config()


def test_on_and_no_are_words(tmp_path: Path) -> None:
    path = tmp_path / "cfg.yaml"
    path.write_text("grow: {on: softmax, enabled: false}\ndata: {val_split: no}\n")
    cfg = config.load(path)
    assert cfg.grow.on == "softmax"
    assert cfg.grow.enabled is False
    assert cfg.data.val_split == "no"
