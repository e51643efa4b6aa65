"""What a command line names: files, folders, labels."""

from pathlib import Path

import pytest
from helpers import NAMES

from dsrg.data.sources import Source, find_sources, read_tags
from dsrg.errors import InputError
from dsrg.labels import Classes

CLASSES = Classes(NAMES)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names_of(sources: list[Source]) -> list[str]:
    return [source.name for source in sources]


def test_folder_gives_photographs_and_videos_in_order_and_tells_of_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "clip.mp4", "notes.txt", ".hidden.jpg", "inner/c.jpg")
    sources, left = find_sources([tmp_path])
    assert names_of(sources) == ["a", "b", "clip"]
    assert [source.is_video for source in sources] == [False, False, True]
    assert left.others == [tmp_path / "notes.txt"]
    assert left.skipped == [tmp_path / ".hidden.jpg"]


def test_recursive_search_keeps_folders_and_leaves_the_output_out(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "out/masks/1.png")
    sources, _ = find_sources([tmp_path], recursive=True, without=tmp_path / "out")
    assert names_of(sources) == ["cat/1", "dog/1"]
    assert sources[0].file_name == "cat/1.jpg"


def test_a_file_named_twice_is_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    assert names_of(find_sources([tmp_path, tmp_path / "a.jpg"])[0]) == ["a"]


@pytest.mark.parametrize(
    ("files", "inputs", "message"),
    [
        (["a.jpg", "a.png"], ["."], "would have the name 'a'"),
        (["x/a.jpg", "y/a.jpg"], ["x", "y"], "would have the name 'a'"),
        (["clip.mp4", "clip/0.jpg"], ["."], "frames of .*clip.mp4; rename the video"),
        (["inner/a.jpg"], ["inner/b.jpg"], "b.jpg: does not exist"),
        (["notes.txt"], ["."], "holds no photograph or video; check the path"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, files: list[str], inputs: list[str], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(InputError, match=message):
        find_sources([tmp_path / name for name in inputs], recursive=True)


def test_photographs_one_folder_down_are_pointed_at(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.jpg")
    with pytest.raises(InputError, match="add --recursive"):
        find_sources([tmp_path])


def test_tags_are_found_by_path_or_name(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.jpg", "b.jpg", "c.jpg", "clip.mp4")
    sources, _ = find_sources([tmp_path], recursive=True)
    table = tmp_path / "labels.csv"
    table.write_text("image,labels\ncat/a.jpg,cat\nb,cat dog\nc.jpg,traffic light\nclip.mp4,dog\n")
    expected = {"cat/a": ["cat"], "b": ["cat", "dog"], "c": ["traffic light"], "clip": ["dog"]}
    assert read_tags(table, sources, CLASSES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\nother,cat\n", r"a\.jpg: has no row in .*labels\.csv"),
        ("image,labels\na,unicorn\n", "the label 'unicorn' is not in"),
        ("image,labels\na,\n", "'a' has no label"),
        ("image,labels\na,cat\na,dog\n", "'a' is listed twice"),
        ("thing,labels\na,cat\n", "the first line must be 'image,labels'"),
    ],
)
def test_faults_of_the_table_are_named(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message):
        read_tags(table, [Source("a.jpg", tmp_path / "a.jpg")], CLASSES)


def test_a_row_for_several_photographs_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "tags.csv").write_text(f"image,labels\n1.jpg,{NAMES[1]}\n")
    sources, _ = find_sources([tmp_path / "cat"])
    assert read_tags(tmp_path / "tags.csv", sources, CLASSES) == {"1": [NAMES[1]]}
    sources, _ = find_sources([tmp_path], recursive=True)
    with pytest.raises(InputError, match=r"'1.jpg' may be 2 photographs; write their folders before the name"):
        read_tags(tmp_path / "tags.csv", sources, CLASSES)


def test_a_comma_between_labels_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    (tmp_path / "tags.csv").write_text(f"image,labels\n1.jpg,{NAMES[1]},{NAMES[2]}\n")
    with pytest.raises(InputError, match="line 2 has more columns than the first"):
        read_tags(tmp_path / "tags.csv", find_sources([tmp_path / "1.jpg"])[0], CLASSES)


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg")
    (tmp_path / "cat/loop").symlink_to(tmp_path)
    assert names_of(find_sources([tmp_path], recursive=True)[0]) == ["cat/1"]
