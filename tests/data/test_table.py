"""Tables of labels: every dialect and every way to divide is read rightly at every door, or refused in a sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dsrg.data.labelled import read_labelled
from dsrg.data.own import read_table
from dsrg.data.sources import find_sources, read_tags
from dsrg.data.table import read_labels
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.labels import Classes

Labels = dict[str, set[str]]
NAMES = ("background", "cat", "dog", "traffic light")


def prepared(root: Path, table: Path) -> Labels:
    return {path.stem: set(own) for path, own in read_table(root / "photos", table).labels.items()}


def probed(root: Path, table: Path) -> Labels:
    read = read_labelled(table, root / "photos")
    return {
        photo.path.stem: {read.names[k] for k in row.nonzero()[0]}
        for photo, row in zip(read[0], read.tags, strict=True)
    }


def predicted(root: Path, table: Path) -> Labels:
    sources, _ = find_sources([root / "photos"])
    return {name: set(own) for name, own in read_tags(table, sources, Classes(NAMES)).items()}


def trained(root: Path, table: Path) -> Labels:
    (root / "classes.txt").write_text("\n".join(NAMES))
    (root / "train.txt").write_text("\n".join(path.stem for path in (root / "photos").glob("*")))
    photos = VocFolder(root, images="photos", splits=".", labels=table.name).photos("train")
    return {photo.id: {NAMES[k] for k in photo.tags.nonzero()[0] if k} for photo in photos}


DOORS = [prepared, probed, predicted, trained]
Door = Callable[[Path, Path], Labels]


def make(root: Path, text: str, name: str = "labels.csv") -> Path:
    (root / "photos").mkdir(parents=True)
    for photo in "abc":
        Image.new("RGB", (4, 3)).save(root / f"photos/{photo}.jpg")
    (root / name).write_bytes(text.encode())
    return root / name


EXPECTED = {"a": {"cat", "dog"}, "b": {"cat"}, "c": {"dog", "traffic light"}}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "text",
    [
        'image,labels\na,"cat, dog"\nb,cat\nc,"dog,traffic light"\n',
        "image,labels\na,cat|dog\nb,cat\nc,traffic light | dog\n",
        "image,labels\na,cat;dog\nb,cat;\nc,dog; traffic light\n",
        "image,labels\na,cat dog\nb,cat\nc,dog;traffic light\n",
        'image,labels\na,"[""cat"", ""dog""]"\nb,"[""cat""]"\nc,"[""dog"", ""traffic light""]"\n',
        "image,labels\na,\"['cat', 'dog']\"\nb,['cat']\nc,\"['dog', 'traffic light']\"\n",
        "image,labels\na,cat、dog\nb,cat\nc,dog、traffic light\n",
        'image,labels\na,"cat\ndog"\nb,cat\nc,"dog\ntraffic light"\n',
        "Image, LABELS \r\na.jpg,cat|dog\r\nb.jpg,cat\r\nphotos/../c,dog|traffic light\r\n".replace("photos/../", ""),
        "\ufeffimage;labels\na;cat,dog\nb;cat\nc;dog,traffic light\n",
        "image\tlabels\na\tcat,dog\nb\tcat\nc\tdog,traffic light\n",
        "id,n,tags\na,1,cat|dog\nb,2,cat\nc,3,dog|traffic light\n",
        "image,cat,dog,traffic light\na.jpg,1,1,0\nb.jpg,1,0,0\nc.jpg,0,1.0,True\n",
        "file_name,label\n\n./a.jpg,cat|dog\n,\nb.jpg,cat\nc.jpg,traffic light|dog\n",
        '{"file_name": "a.jpg", "labels": ["cat", "dog"]}\n{"file_name": "b.jpg", "labels": "cat"}\n\n'
        '{"image": "c", "tags": ["dog", "traffic light"]}\n',
        "sep=;\nImage ID;Class Names\na;cat|dog\nb;cat\nc;dog|traffic light\n",
        "id,filepaths,CATEGORY\n1,a.jpg,cat|dog\n2,b.jpg,cat\n3,c.jpg,dog|traffic light\n",
        "path,label,label_name\na,0,cat|dog\nb,1,cat\nc,2,dog|traffic light\n",
        "filename, Unlabeled, cat, dog, traffic light\na.jpg, 0, 1, 1, 0\nb.jpg, 0, 1, 0, 0\nc.jpg, 0, 0, 1, 1\n",
        "Unnamed: 0,image,cat,dog,traffic light,Unnamed: 5\n0,a,1,1,0,1\n1,b,1,0,0,1\n2,c,0,1,1,1\n",
        "image,no_label,cat,dog,traffic light\na,0,1,1,0\nb,1,1,0,0\nc,0,0,1,1\n",
        "image,width,height,cat,dog,traffic light\na,4,3,x,x,\nb,4,3,X,,\nc,4,3,,x,x\n",
        "image_id,cat,dog,traffic light\na,1,1,-1\nb,1,-1,-1\nc,-1,1,1\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,4,3,cat,0,0,1,1\na.jpg,4,3,dog,0,0,1,1\n"
        "b.jpg,4,3,cat,0,0,1,1\nb.jpg,4,3,cat,1,1,2,2\nc.jpg,4,3,traffic light;,0,0,1,1\nc.jpg,4,3,dog,0,0,1,1\n",
        "Image Id,Class,EncodedPixels\na.jpg,cat,1 5\na.jpg,dog,9 3\nb.jpg,cat,1 1\n"
        "c.jpg,traffic light,2 2\nc.jpg,dog,7 1\n",
        "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,0,0,1,1\na.jpg,dog,0,0,1,1\nb.jpg,cat,0,0,1,1\n"
        "c.jpg,traffic light,0,0,1,1\nc.jpg,dog,0,0,1,1\n",
        "image,class_id,class_name\na,0,cat|dog\nb,1,cat\nc,2,dog|traffic light\n",
        "image,is_valid,fold,cat,dog,traffic light\na,0,0,1,1,0\nb,1,1,1,0,0\nc,0,0,0,1,1\n",
        'image, labels\na, "cat, dog"\nb, cat\nc, "dog,traffic light"\n',
        "image,label,label2\na,cat,dog\nb,cat,\nc,dog,traffic light\n",
        "image,labels,labels.1\na,cat,dog\nb,cat,\nc,dog,traffic light\n",
        "image,n,tag_1,tag_2,tag_3\na,4,cat,dog,\nb,4,,cat,\nc,4,,dog,traffic light\n",
        "image,label,Unnamed: 2,\na,dog,cat,\nb,cat\nc,traffic light,,dog\n",
        "image,label,present\na,cat,1\na,dog,true\na,traffic light,0\nb,cat,1\nb,dog,0\nc,dog,1\nc,traffic light,1\n",
        "image,labels,confidence\na,cat;dog,1\nb,cat,1.0\nc,dog;traffic light,\n",
        '{"file_name": "a.jpg", "label1": "cat", "label2": "dog"}\n{"file_name": "b.jpg", "label1": "cat"}\n'
        '{"file_name": "c.jpg", "label": "dog", "label_2": "traffic light"}\n',
        '{"file_name": "a.jpg", "objects": {"bbox": [[0, 0, 1, 1], [1, 1, 2, 2]], "category": ["cat", "dog"]}}\n'
        '{"file_name": "b.jpg", "objects": {"bbox": [[0, 0, 1, 1]], "category": ["cat"]}}\n'
        '{"file_name": "c.jpg", "objects": {"bbox": [[0, 0, 1, 1]], "category": ["traffic light", "dog"]}}\n',
    ],
)
def test_every_door_reads_every_form(tmp_path: Path, door: Door, text: str) -> None:
    assert door(tmp_path, make(tmp_path, text)) == EXPECTED


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("image,labels\na,cat;dog|traffic light\nb,cat\nc,dog\n", "line 2: the labels 'cat;dog|traffic light' of 'a'"),
        ("image,labels\na,cat/cow\nb,cat\nc,dog\n", "'/', which may divide them"),
        ("image,labels\na,cat:0.9\nb,cat\nc,dog\n", "':', which may divide them"),
        ("image,labels\na,cat - cow\nb,cat\nc,dog\n", "have a word between them"),
        (
            "image,labels,Confidence\na,cat,0\nb,cat,1\nc,dog,1\n",
            "has a column 'Confidence', which dsrg cannot use (line 2 has '0')",
        ),
        (
            "image,label,label_confidence\na,cat,1\nb,cat,0.2\n",
            "'label_confidence', which dsrg cannot use (line 3 has '0.2')",
        ),
        ("image,label,prob\na,cat,0.1\n", "'prob', which dsrg cannot use"),
        ("image,label1,score1,label2,score2\na,cat,1,dog,0.3\n", "'score2', which dsrg cannot use"),
        (
            "image,label,verified\na,cat,0\n",
            "'verified', which dsrg cannot use (line 2 has '0'); keep only the labels that are true and remove",
        ),
        (
            '{"image": "a", "label": "cat", "score": 0.1}\n',
            "has a key 'score', which dsrg cannot use (line 1 has '0.1')",
        ),
        ("image,label,present\na,cat,0.4\n", "line 2 has '0.4' in the column 'present', which must be 0 or 1"),
        (
            "image,label,present\na,cat,1\na,cat,0\n",
            "line 3 contradicts an earlier line about 'cat' in 'a'; remove one",
        ),
        (
            "image,label,\na,cat,blurred\nb,cat,\n",
            "line 2 has 'blurred' in a column without a name behind 'label'; call",
        ),
        ("image,label,label2\na,cat,3\nb,dog,4\n", "names in the column 'label' and numbers in 'label2'; remove"),
        ("image,label,labelScore\na,cat,1.5\n", "has a column 'labelScore', which dsrg cannot use (line 2 has '1.5')"),
        ("image,label,AIScore\na,cat,0.5\n", "has a column 'AIScore', which dsrg cannot use"),
        ("image,label,labelconfidence\na,cat,0.5\n", "has a column 'labelconfidence', which dsrg cannot use"),
        ("image,label2,label2\na,cat,3\n", "names in the column 'label2' and numbers in 'label2'"),
        ("image,cat,dog,score\na,1,0,0.5\n", "has a column 'score', which dsrg cannot use"),
        ("image;labels\na;cat;dog\n", "line 2 has more columns than the first; put its labels in quotes"),
        ("image,labels\na,NaN\nb,cat\nc,dog\n", "have 'NaN', which says that there is none: leave them empty"),
        ("image,labels\na,None\nb,cat\nc,dog\n", "have 'None', which says that there is none"),
        ("image,labels\na,NA\nb,cat\nc,dog\n", "have 'NA', which says that there is none: leave them empty"),
        ("image,labels\na,cat\nb,-\nc,dog\n", "have '-', which says that there is none"),
        ("image,labels\na,cat;dog\nb,n/a\nc,dog\n", "have 'n/a', which says that there is none"),
        ("image,label\na,no_label\nb,cat\nc,dog\n", "have 'no_label', which says that there is none"),
        ("image,labels\na,cat and cow\nb,cat\nc,dog\n", "have a word between them"),
        ("image,labels\na,['cat' 'dog']\nb,cat\nc,dog\n", "none of JSON or Python"),
        ('image,labels\na,"[1, 0]"\nb,cat\nc,dog\n', "a list of other things than texts"),
        ('image,labels\na,"{""choices"": [""cat""]}"\nb,cat\nc,dog\n', "none of JSON or Python"),
        ("image,labels\na,\"'cat','dog'\"\nb,cat\nc,dog\n", "quotes or brackets about"),
        ("image,labels\na,cat,dog\nb,cat\nc,dog\n", "line 2 has more columns than the first"),
        ('image,labels\na,"cat\nb,cat\nc,dog\n', "no line of a CSV"),
        ("image,labels\n,cat\n", "line 2 names no photograph"),
        ("image,labels\na\x1b[2J,cat\n", "line 2 calls its photograph 'a\\x1b[2J', which is no file's name"),
        ("image,labels\n" + "a" * 2000 + ",cat\n", "which is no file's name"),
        ("image,labels\na,c\x07at\nb,cat\nc,dog\n", "holds a control character"),
        ("image,labels\na," + ";".join(f"c{k}" for k in range(300)) + "\n", "are 300, and 254 classes are the most"),
        ("image,labels\na," + "c" * 200_000 + "\n", "field larger than field limit"),
        ("image,labels\na," + "c" * 2_000_000 + "\n", "line 2 has more than 1,048,576 letters"),
        ("," * 2_000_000, "its first line has more than"),
        ("a,cat\nb,cat\n", "must be 'image,labels', but it is 'a,cat'"),
        ("image,label,class\na,cat,x\n", "'label' and 'class'"),
        ("image,labels,labels\na,cat,x\n", "several columns"),
        ("image,cat,dog\na,1,2\n", "line 2 has '2' in the column 'dog', which must be 0 or 1"),
        ("image,cat,dog\na,1,\nb,1,0\nc,1,0\n", "line 2 has '' in the column 'dog'"),
        ("image,cat,dog\na,1,-1\nb,1,0\nc,1,0\n", "line 2 has '-1' in the column 'dog'"),
        ("image,cat,cat\na,1,0\n", "the columns of 0 and 1 must be the classes, each once"),
        ("foto,chat,chien\na,1,0\n", "no column is known for the photographs (image, file_name"),
        ("a.jpg,cat\nb.jpg,cat\n", "it names a photograph and no columns"),
        ("image,text,size\na,a cat,3\n", "no column is known for the labels (labels, label, tags"),
        ("image,cat,dog\na,1\nb,1,0\nc,1,0\n", "line 2 has 2 columns"),
        ("", "is empty"),
        ('[{"image": "a", "choice": "cat"}]', "is a JSON list"),
        ('{"file_name": "a", "objects": 3}', "has the keys 'file_name', 'objects'"),
        ('{"file_name": "a", "labels": [null]}', "line 1 has labels that are no text"),
        ('{"image": "a", "label": "cat"}\n{}\n', "line 2 is an empty object; give it 'file_name' and 'labels'"),
        ('{"image": "a", "label": "cat"}\n3\n', "line 2 is no JSON object; give"),
        ('{"image": "a", "label": 3, "label_name": "cat"}\n', "several keys of the same meaning, 'label' and"),
        ('{"image": "a", "tag": "cat", "Tag": "cow"}\n', "several keys of the same meaning, 'tag' and 'Tag'; rename"),
        ('{"image": "a", "label": "cat", "label2": 3}\n', "has names in the key 'label' and numbers in 'label2'"),
        ('{"image": "a", "class_1": 0, "class_2": 2}\n', "has numbers alone below 'class_1', 'class_2', which may be"),
        ('{"image": "a", "label": "cat", "present": 2}\n', "line 1 has '2' in the key 'present', which must be 0 or"),
        (
            '{"image": "a", "label": "cat", "present": 1}\n{"image": "a", "label": ["dog", "cat"], "present": 0}\n',
            "line 2 contradicts an earlier line about 'cat' in 'a'",
        ),
        ('{"images": [\n', "line 1: not valid JSON"),
        ("[" * 100_000, "is a JSON list"),
        ("image,labels\na\0,cat\n", "holds a NUL byte"),
    ],
)
def test_every_door_refuses_what_is_doubtful(tmp_path: Path, door: Door, text: str, named: str) -> None:
    path = make(tmp_path, text)
    with pytest.raises(InputError) as caught:
        door(tmp_path, path)
    assert str(caught.value).startswith(str(path))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(path))


@pytest.mark.parametrize("name", ["label", "Class Name", "species"])
@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (["golden retriever", "husky", "golden retriever"], [("golden retriever",), ("husky",), ("golden retriever",)]),
        (["cat dog", "cat", "dog"], [("cat", "dog"), ("cat",), ("dog",)]),
        (["16 0", "7 1 2 0", "5"], [("16", "0"), ("7", "1", "2", "0"), ("5",)]),
        (["golden retriever", "retriever", "cat"], None),
    ],
)
def test_a_column_of_one_label_has_names_of_several_words(
    tmp_path: Path, name: str, rows: list[str], labels: list[tuple[str, ...]] | None
) -> None:
    path = make(tmp_path, f"image,{name}\n" + "".join(f"{k},{row}\n" for k, row in zip("abc", rows, strict=True)))
    if labels is None:
        with pytest.raises(InputError, match="have blanks alone, while"):
            read_labels(path)
    else:
        assert [row.labels for row in read_labels(path).rows] == labels


def test_a_text_of_json_below_a_name_of_one_label_is_one(tmp_path: Path) -> None:
    path = make(tmp_path, '{"image": "a", "label": "golden retriever"}\n', "t.jsonl")
    assert [row.labels for row in read_labels(path).rows] == [("golden retriever",)]


def test_numbers_of_classes_are_labels_where_there_are_no_names(tmp_path: Path) -> None:
    path = make(tmp_path, "image_id,class_id,width,height\na,0,4,3\nb,1,4,3\nc,0,4,3\n")
    assert [row.labels for row in read_labels(path).rows] == [("0",), ("1",), ("0",)]


def test_a_table_of_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsrg.data.table.MOST", 2)
    with pytest.raises(InputError, match="has 3 rows, and 2 are the most"):
        read_labels(make(tmp_path, "image,labels\na,x\nb,x\nc,x\n"))


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (
            "image,label,label2,by\na,cat,dog,me\n",
            [
                "the columns 'label', 'label2' hold labels; a photograph has those of each.",
                "the column 'by' was left out; the labels are those in 'label', 'label2'.",
            ],
        ),
        (
            "image,label,present\na,cat,1\na,dog,0\n",
            ["the column 'present' says whether a label holds; in 1 of 2 rows it does not."],
        ),
        (
            "image,label,split\na,cat,train\nb,cat,holdout\n",
            [
                "the column 'split' was not followed, since line 3 has 'holdout' in it, which is no split; write "
                "train, val or test in every line."
            ],
        ),
        ("image,label,split\na,cat,train\nb,cat,VAL\n", []),
        ('{"image": "a", "label": "cat", "by": 1}\n{"image": "b", "label": "cat"}\n', ["the key 'by' was left out."]),
        (
            '{"image": "a", "label": "cat", "split": "holdout"}\n',
            [
                "the key 'split' was not followed, since line 1 has 'holdout' in it, which is no split; write train, "
                "val or test in every line."
            ],
        ),
    ],
)
def test_columns_that_were_joined_followed_and_left_out_are_told(tmp_path: Path, text: str, notes: list[str]) -> None:
    path = make(tmp_path, text)
    assert read_labels(path).notes == [f"{path}: {note}" for note in notes]


def test_keys_of_json_mean_what_columns_do(tmp_path: Path) -> None:
    lines = [
        {"image": "a", "tag_1": "cat", "tag_2": "traffic light", "present": "yes", "confidence": None, "split": None},
        {"image": "a", "tag_1": "dog", "tag_2": None, "present": False, "confidence": "1", "split": "val"},
        {"image": "b", "tag_1": "dog", "tag_2": None, "present": "1", "confidence": 1.0},
    ]
    path = make(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), "t.jsonl")
    read = read_labels(path)
    assert [row[:2] for row in read.rows] == [("a", ("cat", "traffic light")), ("b", ("dog",))]
    assert [row.split for row in read.rows] == ["", ""]
    notes = [
        "the keys 'tag_1', 'tag_2' hold labels; a photograph has those of each.",
        "the key 'present' says whether a label holds; in 1 of 3 rows it does not.",
        "the key 'confidence' was left out.",
        "the key 'split' was not followed, since line 1 has '' in it, which is no split; write train, val or test in "
        "every line.",
    ]
    assert read.notes == [f"{path}: {note}" for note in notes]


def test_lines_of_json_with_boxes_are_objects(tmp_path: Path) -> None:
    text = "".join(f'{{"image": "a", "label": "{name}", "bbox": [0, 0, 1, 1]}}\n' for name in ("cat", "dog", "cat"))
    assert [row[:2] for row in read_labels(make(tmp_path, text, "t.jsonl")).rows] == [("a", ("cat", "dog"))]


def test_a_line_denies_a_label_however_it_is_written(tmp_path: Path) -> None:
    path = make(tmp_path, "image,labels,present\na,cat;dog,1\na,cow;dog,0\n")
    with pytest.raises(InputError, match="line 3 contradicts an earlier line about 'dog' in 'a'"):
        read_labels(path)


def test_numbered_columns_of_0_and_1_are_classes(tmp_path: Path) -> None:
    path = make(tmp_path, "image,label_0,label_1\na,1,1\nb,0,1\n")
    assert [row.labels for row in read_labels(path).rows] == [("label_0", "label_1"), ("label_1",)]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("image,label,verified\na,cat,yes\nb,dog,\n", ["cat", "dog"]),
        ("image,label,confidence\na,cat,1.00\nb,dog,1\n", ["cat", "dog"]),
        ("image,label,underscore\na,cat,0.3\nb,dog,7\n", ["cat", "dog"]),
        ("image,cat,dog,cat_score\na,1,0,0\nb,0,1,0\n", ["cat", "dog"]),  # with no labels each may be a class
        ("image,label,label2\na,,cat\nb,,dog\n", ["cat", "dog"]),
        ("image,label1,label2\na,cat,\nb,,7\n", None),
        ("image,label,\na,bird cat,cat\nb,bird,cat\nc,cat,\n", ["bird cat", "bird cat", "cat"]),
    ],
)
def test_a_column_that_says_nothing_against_the_labels_is_no_obstacle(
    tmp_path: Path, text: str, labels: list[str] | None
) -> None:
    path = make(tmp_path, text)
    if labels is None:
        with pytest.raises(InputError, match="has names in the column 'label1' and numbers in 'label2'"):
            read_labels(path)
    else:
        assert [" ".join(row.labels or ()) for row in read_labels(path).rows] == labels


def test_an_index_of_pandas_is_not_worth_a_note(tmp_path: Path) -> None:
    path = make(tmp_path, ",image,label,by,Unnamed: 4\n0,a,cat,me,0\n1,b,dog,me,1\n")
    assert read_labels(path).notes == [f"{path}: the column 'by' was left out; the labels are those in 'label'."]
    path = make(tmp_path / "words", ",image,label,by,\n0,a,cat,me,dog\n")
    assert "'by', '' (column 5) were left out" in read_labels(path).notes[0]


@pytest.mark.parametrize("odd", ["2", "0.1", "nan"])
def test_numbered_columns_of_numbers_are_no_labels(tmp_path: Path, odd: str) -> None:
    path = make(tmp_path, f"image,class_1,class_2\na,0,1\nb,{odd},0\n")
    with pytest.raises(InputError, match=f"line 3 has '{odd}' in the column 'class_1', which must be 0 or 1"):
        read_labels(path)


def test_what_was_decided_is_told(tmp_path: Path) -> None:
    path = make(tmp_path, "image,labels\na,3\nb,12\nc,7\n")
    assert read_labels(path).notes == [
        f"{path}: the labels are numbers, such as '12', and become the names of the classes."
    ]
    path.write_text("image,labels\na,golden retriever\n")
    assert read_labels(path).notes == [
        f"{path}: 'golden retriever' was divided at the blanks; end a label of several words with ';'."
    ]
