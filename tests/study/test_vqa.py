"""Visual question answering: the layer against other computations of it, the command against its own files."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explain_networks import Backbone
from helpers import COLOURS, Tool, check_refusal, make_voc, save_photo
from PIL import Image
from playwright.sync_api import Page
from sklearn.linear_model import LogisticRegression
from sure_run import CONFIG, make_run, words

from dsrg import explain
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import storage
from dsrg.models.classifier import Classifier
from dsrg.page.vqa import write_page
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.study import ibowimg, vqa_features
from dsrg.study.ibowimg import AnswerHead, Examples, Layer
from dsrg.study.probe_features import Features
from dsrg.study.vqa import Source, train_vqa
from dsrg.study.vqa_ask import Shown, ask, show

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = ("cat", "dog", "traffic light;")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of one label each, whose colour it is: a part at the left or right, or two parts, on dark ground."""
    splits = {"train": [f"t{n:02}" for n in range(36)], "val": [f"v{n:02}" for n in range(12)]}
    labels = {name: LABELS[number % 3] for ids in splits.values() for number, name in enumerate(ids)}
    root = make_voc(tmp_path_factory.mktemp("data"), splits, size=(40, 30), labels=labels)
    for number, name in enumerate([*splits["train"], *splits["val"]]):
        mask = np.zeros((30, 40), np.uint8)
        mask[8:22, 2 + number % 5 : 16] = 1 + number % 3
        if number % 4 > 1:
            mask = mask[:, ::-1] if number % 4 == 2 else np.maximum(mask, mask[:, ::-1])
        Image.fromarray(COLOURS[mask]).save(root / f"JPEGImages/{name}.jpg", quality=95, subsampling=0)
        Image.fromarray(mask).save(root / f"SegmentationClass/{name}.png")
    (root / "groups.txt").write_text("animal: cat, dog\n")
    return root


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short trainings, and few of them."""
    monkeypatch.setattr(ibowimg, "STEPS", 60)
    monkeypatch.setattr(ibowimg, "EPOCHS", 2)
    monkeypatch.setattr(ibowimg, "DECAYS", (1e-3, 1e-2))


def random_layer(depth: int = 5, answers: tuple[str, ...] = ("yes", "no", "cat", "2")) -> Layer:
    random = np.random.default_rng(0)
    vocabulary = ("is", "there", "a", "cat")
    shapes = ((len(vocabulary), len(answers)), (len(answers), depth), (len(answers),))
    return Layer(vocabulary, answers, *(random.normal(size=shape).astype(np.float32) for shape in shapes))


def test_words_are_a_bag() -> None:
    assert ibowimg.words_of("Is there a CAT, or isn't it? 2-way") == [
        *("is", "there", "a", "cat", "or", "isn't", "it", "2", "way"),
    ]
    layer = random_layer()
    once, twice = layer.scores(["a cat", "cat a cat"], None)
    assert twice - once == pytest.approx(layer.word_weight[3], abs=1e-6)
    assert layer.scores(["", "zebra"], None) == pytest.approx(np.stack([layer.bias] * 2))
    assert layer.contributions("A zebra")[1] == ("zebra", None)
    assert ibowimg.most_frequent(["b", "a", "c", "b", "a", "d"], 3) == ("a", "b", "c")


def test_the_answers_map_is_cams_arithmetic() -> None:
    torch.manual_seed(0)
    layer, images = random_layer(), torch.rand(2, 3, 12, 10)
    classifier = Classifier(
        Backbone(), 4
    ).eval()  # the paper's network with the layer's image half for its linear layer
    with torch.no_grad():
        classifier.linear.weight.copy_(torch.from_numpy(layer.image_weight))
        classifier.linear.bias.copy_(torch.from_numpy(layer.bias))
        features = classifier.features(images)
    answers = torch.tensor([[2, 0], [1, 1]])
    head = AnswerHead(layer, classifier.features)
    maps = explain.cam(head, images, answers)
    torch.testing.assert_close(maps, explain.cam(classifier, images, answers), atol=1e-6, rtol=0)
    weight = torch.from_numpy(layer.image_weight).double()[answers]
    naive = (weight[..., None, None] * features.double()[:, None]).sum(dim=2)
    torch.testing.assert_close(maps.double(), naive, atol=1e-6, rtol=0)
    # Words, image and bias add up to the score.
    texts, pooled = ["is there a cat", "zebra cat cat"], features.mean(dim=(2, 3)).numpy()
    for n, text in enumerate(texts):
        scores = layer.scores(texts, pooled)[n]
        for m, answer in enumerate(answers[n].tolist()):
            said = sum(float(given[answer]) for _, given in layer.contributions(text) if given is not None)
            assert scores[answer] == pytest.approx(said + float(maps[n, m].mean()) + layer.bias[answer], abs=1e-5)


def questions(count: int = 150) -> Examples:
    random = np.random.default_rng(1)
    pooled = (random.normal(size=(60, 4)) * (1, 5, 0.2, 1) + (0, 3, 0, -2)).astype(np.float32)
    photos = random.integers(0, 60, count)
    words = [random.choice(6, size=random.integers(1, 5)).tolist() for _ in range(count)]
    signal = np.stack([pooled[photos, 0], pooled[photos, 1] / 5, np.array([row.count(2) for row in words])], axis=1)
    return Examples(words, photos, (signal + random.normal(size=signal.shape)).argmax(axis=1), pooled)


def test_the_training_is_multinomial_logistic_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ibowimg, "STEPS", 1000)
    examples, decay = questions(), 0.03
    weights = ibowimg.fit(examples, 6, 3, word_decay=decay, image_decay=decay, seed=0)
    layer = ibowimg.to_layer(weights, tuple("abcdef"), ("x", "y", "z"))
    texts = [" ".join("abcdef"[row] for row in rows) for rows in examples.words]
    found = torch.from_numpy(layer.scores(texts, examples.pooled[examples.photos])).softmax(1).numpy()

    counts = np.array([np.bincount(rows, minlength=6) for rows in examples.words])
    seen = examples.pooled[np.unique(examples.photos)]
    standard = (examples.pooled[examples.photos] - seen.mean(0)) / seen.std(0)
    columns = np.concatenate([counts, standard], axis=1)
    # It minimises C * the sum of the losses + half of the squared length.
    oracle = LogisticRegression(C=1 / (decay * len(texts)), max_iter=5000, tol=1e-8).fit(columns, examples.answers)
    assert np.abs(found - oracle.predict_proba(columns)).max() < 2e-3
    assert layer.word_weight.mean(axis=1) == pytest.approx(np.zeros(6), abs=1e-6)
    assert layer.image_weight.mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-6)


def test_the_decay_is_that_of_the_lowest_loss_on_other_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ibowimg, "STEPS", 60)
    examples = questions(80)
    learn, check = examples.take(np.arange(50)), examples.take(np.arange(50, 80))
    chosen = ibowimg.choose_decay(learn, check, 6, 3, word_decay=0.01, seed=0)
    losses = [
        ibowimg.log_loss(ibowimg.fit(learn, 6, 3, word_decay=0.01, image_decay=decay, seed=0), check)
        for decay in ibowimg.DECAYS
    ]
    assert chosen == ibowimg.DECAYS[int(np.argmin(losses))]
    assert len(set(losses)) == len(losses)


def test_a_layer_is_read_as_it_was_written(tmp_path: Path) -> None:
    layer = random_layer()
    layer.write(tmp_path / "layer.npz")
    read = Layer.read(tmp_path / "layer.npz")
    assert (read.words, read.answers, read.features) == (layer.words, layer.answers, "")
    np.testing.assert_array_equal(read.image_weight, layer.image_weight)
    arrays = {name: np.array(getattr(layer, name)) for name in ibowimg._ARRAYS}
    for changes in (
        {"bias": np.zeros(3, np.float32)},
        {"image_weight": np.zeros(4, np.float32)},
        {"word_weight": np.full((4, 4), np.nan, np.float32)},
        {"words": np.array([1, 2, 3, 4])},
        {
            "answers": np.array(["yes"]),
            "bias": np.zeros(1),
            "word_weight": np.zeros((4, 1)),
            "image_weight": np.zeros((1, 2)),
        },
        {"features": np.array(["a"])},
    ):
        (tmp_path / "bad.npz").write_bytes(storage.npz(**arrays | changes))
        with pytest.raises(InputError, match="not a readable layer of answers"):
            Layer.read(tmp_path / "bad.npz")


def call(data: Path, run_dir: Path, tool: Tool, *options: object) -> tuple[int, str, str]:
    return tool("vqa", *options, "--cfg", CONFIG, *words(data, run_dir, "classifier.size=33"))


def run_of(data: Path, run_dir: Path) -> Run:
    return make_run(data, run_dir, "classifier.size=33")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


class Texts(HTMLParser):
    """What stands in the page, by the class of the element that it stands in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self._class = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "b":
            self._class = dict(attributes).get("class") or tag

    def handle_data(self, text: str) -> None:
        if text.strip():
            self.found.setdefault(self._class, []).append(text.strip())


@pytest.mark.usefixtures("quick")
def test_the_figures_are_those_of_the_files(data: Path, tmp_path: Path, tool: Tool) -> None:
    run = run_of(data, tmp_path)
    code, out, _ = call(data, tmp_path, tool, "train", "--groups", data / "groups.txt", "--count", 5)
    assert code == 0
    folder = tmp_path / "vqa"
    summary, said = read(folder / "results.json"), read(folder / "answers.json")
    asked = {row["question_id"]: row for row in read(folder / "questions/val_questions.json")["questions"]}
    told = {row["question_id"]: row for row in read(folder / "questions/val_annotations.json")["annotations"]}
    assert [row["question_id"] for row in said] == list(asked) == list(told)
    right = {row["question_id"]: row["answer"] == told[row["question_id"]]["multiple_choice_answer"] for row in said}
    both = summary["figures"]["image and words"]
    assert both["accuracy"] == pytest.approx(np.mean(list(right.values())))
    for kind, value in both["by_question_type"].items():
        own = [right[number] for number, row in told.items() if row["question_type"] == kind]
        assert value == pytest.approx(np.mean(own))
        assert f"| {kind} | {len(own)} | {value:.3f} |" in out
    # Colour tells the class; without a look nobody knows more than that all answers are as frequent.
    assert both["by_question_type"]["what is this"] == 1
    for blind in ("words alone", "most frequent answer of the type"):
        assert summary["figures"][blind]["by_question_type"]["what is this"] == pytest.approx(1 / 3)
        assert summary["figures"][blind]["by_question_type"]["is there"] == 0.5
    check_layer(run, folder, asked, said)
    found = Texts((folder / "answers.html").read_text()).found
    assert len(found["question"]) == len(found["id"]) == 5
    assert set(found["verdict right"] + found.get("verdict wrong", [])) <= {"right", "wrong"}


def check_layer(run: Run, folder: Path, asked: dict[int, Any], said: list[dict[str, Any]]) -> None:
    """The answers, from the layer's arrays and the photographs."""
    with np.load(folder / "layer.npz", allow_pickle=False) as stored:
        layer = dict(stored)
    model, vocabulary = networks.trained_classifier(run), layer["words"].tolist()
    files = {row["id"]: row["file_name"] for row in read(folder / "questions/val_questions.json")["images"]}
    for row in said[::7]:
        question = asked[row["question_id"]]
        pixels = torch.from_numpy(np.array(Image.open(run.folder.image_dir / files[question["image_id"]])))
        images = torch.nn.functional.interpolate(
            pixels.permute(2, 0, 1)[None].float(), (33, 33), mode="bilinear", antialias=True
        )
        with torch.no_grad():
            pooled = model.features(inference.normalise(images.round()))[0].mean(dim=(1, 2)).numpy()
        rows = [vocabulary.index(word) for word in question["question"].rstrip("?").split()]
        scores = layer["word_weight"][rows].sum(axis=0) + layer["image_weight"] @ pooled + layer["bias"]
        assert layer["answers"][scores.argmax()] == row["answer"]


@pytest.mark.usefixtures("quick")
def test_ask_tells_what_spoke_for_the_answer(data: Path, tmp_path: Path, tool: Tool) -> None:
    run = run_of(data, tmp_path)
    train_vqa(run, count=1)
    photo = data / "JPEGImages/v01.jpg"  # a dog
    code, out, _ = call(data, tmp_path, tool, "ask", photo, "--question", "What is <this> zebra?")
    assert code == 0
    assert out.startswith(f"{photo}: dog ")
    assert "zebra not known" in out
    page = (tmp_path / "vqa/ask.html").read_text()
    assert "What is &lt;this&gt; zebra?" in page
    found = Texts(page).found
    assert found["question"] == ["What is <this> zebra?"]
    (one,) = ask(run, [run.val[1]], "what is this?")
    assert one.answers[0][0] == "dog"
    assert one.image == pytest.approx(float(one.heat.mean()))
    layer = Layer.read(tmp_path / "vqa/layer.npz")
    features = Features(run.cfg, "classifier")
    pooled = features.pool([run.val[1]], "")
    scores = layer.scores(["what is this?"], pooled)[0]
    score = one.image + one.bias + sum(value for _, value in one.words if value is not None)
    assert score == pytest.approx(scores.max(), abs=1e-4)
    assert one.answers[0][1] == pytest.approx(float(torch.from_numpy(scores).softmax(0).max()), abs=1e-4)
    with pytest.raises(InputError, match="is for 5 features"):
        show(features, random_layer(), run.val[1], "what?")


def test_the_page_asks_nobody(page: Page, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    picture, heat = random.integers(0, 256, (30, 40, 3), np.uint8), random.normal(size=(3, 4)).astype(np.float32)
    photo = Photo("<b>.jpg", tmp_path, np.ones(1, bool))
    words = [("is", 0.5), ("<i>x</i>", None), ("a", -0.25)]
    shown = Shown(photo, picture, "is <i>x</i> a?", [("yes", 0.7), ("no", 0.3)], heat, 1.0, words, 0.1, "no", 0.3)
    path = write_page(tmp_path / "page.html", "it's", [shown])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert page.locator(".question").inner_text() == "is <i>x</i> a?"
    assert page.locator(".verdict").inner_text() == "accuracy 0.3"
    assert page.locator(".part").all_inner_texts() == [
        *("image +1.00", "is +0.50", "<i>x</i> not known", "a -0.25", "bias +0.10"),
    ]
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


@pytest.mark.usefixtures("quick")
def test_the_challenges_files_are_learnt_from(data: Path, tmp_path: Path, tool: Tool) -> None:
    run_of(data, tmp_path)
    sources = []
    for split, colours in (("train2014", 6), ("val2014", 4)):
        rows, told = [], []
        for number in range(1, 2 * colours + 1):
            save_photo(tmp_path / f"{split}/COCO_{split}_{number:012d}.jpg", 250 if number % 2 else 5)
            answers = [["bright", "light"][n % 4 == 3] if number % 2 else "The dark" for n in range(10)]
            rows.append({"question_id": 10 * number, "image_id": number, "question": "How bright is it?"})
            told.append(
                {"question_id": 10 * number, "image_id": number, "question_type": "how", "answer_type": "other"}
                | {"answers": [{"answer": answer} for answer in answers]}
            )
        for name, value in (("questions", rows), ("annotations", told)):
            (tmp_path / f"{split}_{name}.json").write_text(json.dumps({name: value}))
        sources += [tmp_path / f"{split}_questions.json", tmp_path / f"{split}_annotations.json", tmp_path / split]
    names = ("questions", "annotations", "photos", "val-questions", "val-annotations", "val-photos")
    options = [word for name, path in zip(names, sources, strict=True) for word in (f"--{name}", path)]
    code, out, _ = call(data, tmp_path, tool, "train", *options, "--answers", 2)
    assert code == 0
    figures = read(tmp_path / "vqa/results.json")["figures"]
    assert figures["image and words"]["accuracy"] == 1
    assert figures["words alone"]["accuracy"] == figures["most frequent answer of the type"]["accuracy"] == 0.5
    assert "100.0 % of the questions" in out
    check_refusal(call(data, tmp_path, tool, "train", *options[:-2]), "--val-photos", "all six")
    check_refusal(call(data, tmp_path, tool, "train", *options, "--groups", data / "groups.txt"), "--groups")
    check_refusal(call(data, tmp_path, tool, "train", *options, "--answers", 1), "--answers 1")
    same = [
        *options[:6],
        *(word for name, path in zip(names[3:], sources[:3], strict=True) for word in (f"--{name}", path)),
    ]
    check_refusal(call(data, tmp_path, tool, "train", *same), "000000000001.jpg", "11 more")


def test_what_cannot_be_asked_is_one_sentence(data: Path, tmp_path: Path, tool: Tool) -> None:
    check_refusal(call(data, tmp_path, tool, "ask", "--question", "what?"), tmp_path / "vqa/layer.npz", "vqa train")
    check_refusal(call(data, tmp_path, tool, "train"), tmp_path / "classifier", "dsrg train-classifier")
    run_of(data, tmp_path)
    check_refusal(call(data, tmp_path, tool, "train", "--groups", data / "classes.txt"), "classes.txt (line 1)")
    check_refusal(call(data, tmp_path, tool, "train", "--weights", "imagenet"), "model.weights = null")
    Layer(*[getattr(random_layer(), name) for name in ibowimg._ARRAYS[:5]], features="classifier:0").write(
        tmp_path / "vqa/layer.npz"
    )
    check_refusal(call(data, tmp_path, tool, "ask"), "--question")
    check_refusal(call(data, tmp_path, tool, "ask", "--question", " ?"), "--question", "no word")
    check_refusal(call(data, tmp_path, tool, "ask", "--question", "x" * 2000), "--question", "1,000 letters")
    check_refusal(call(data, tmp_path, tool, "ask", "--question", "what?", "--count", 0), "--count 0")
    check_refusal(call(data, tmp_path, tool, "ask", "--question", "what?", "--answers", 3), "--answers")
    check_refusal(call(data, tmp_path, tool, "ask", "--question", "what?"), "layer.npz", "another network")
    check_refusal(call(data, tmp_path, tool, "ask", tmp_path / "no.jpg", "--question", "what?"), tmp_path / "no.jpg")
    check_refusal(call(data, tmp_path, tool, "train", "--question", "what?"), "--question", "vqa ask")
    check_refusal(call(data, tmp_path, tool, "train", data / "JPEGImages/v00.jpg"), "v00.jpg", "vqa ask")
    assert sorted(path.name for path in (tmp_path / "vqa").iterdir()) == ["layer.npz"]


def test_features_go_on_where_they_were_interrupted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vqa_features, "PART", 5)
    run = run_of(data, tmp_path)
    features, seen = Features(run.cfg, "classifier"), list[int]()
    pool = Features.pool

    def counted(self: Features, photos: Any, title: str) -> np.ndarray:
        seen.append(len(photos))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return pool(self, photos, title)

    monkeypatch.setattr(Features, "pool", counted)
    with pytest.raises(KeyboardInterrupt):
        vqa_features.pooled_features(run, features, run.val)
    found = vqa_features.pooled_features(run, features, run.val)
    assert seen == [5, 5, 5, 2]  # the first file was there
    np.testing.assert_allclose(found, pool(features, run.val, ""), rtol=1e-5, atol=1e-6)
    assert vqa_features.pooled_features(run, features, run.val).tolist() == found.tolist()
    assert len(seen) == 4
    (broken,) = (tmp_path / "vqa/features").glob("*/1.npz")
    for content in (b"no features", storage.npz(pooled=found[:3]), storage.npz(pooled=np.full((5, 512), np.nan))):
        broken.write_bytes(content)
        with pytest.raises(InputError, match="delete it to have it made anew"):
            vqa_features.pooled_features(run, features, run.val)


@pytest.mark.usefixtures("quick")
def test_rules_without_masks_ask_what_labels_tell(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(data, tmp_path, "classifier.size=33", "data.masks=none")
    trained = train_vqa(run, count=40)
    assert set(trained.summary["questions"]["val_by_type"]) == {"is there", "what is this"}
    assert "without masks of both splits" in capsys.readouterr().out
    assert len(trained.shown) == min(40, trained.summary["questions"]["val"])
    alone = make_voc(tmp_path / "alone", labels=dict.fromkeys("abc", "cat"))
    lone = make_run(alone, tmp_path / "lone", "classifier.size=33")
    with pytest.raises(InputError, match="the rules find no question"):
        train_vqa(lone)
    with pytest.raises(InputError, match="two answers and one question"):
        train_vqa(run, (Source(alone, alone, alone),) * 2, answers=1)
