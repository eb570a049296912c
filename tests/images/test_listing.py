"""What is seen in a folder: by suffix, not hidden, in the order in which people count."""

from pathlib import Path

from videre.images.listing import list_files, list_folders, list_pictures


def _fill(root: Path) -> Path:
    for name in (
        "b10.JPG",
        "b9.jpg",
        "a.txt",
        ".hidden.jpg",
        "Thumbs.db",
        "notes.TXT",
        "jpg",
        "10/x.png",
        ".git/y.png",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    for name in ("9", "@eaDir", "folder.jpg"):
        (root / name).mkdir()
    (root / "linked").symlink_to(root / "10")
    (root / "lost.jpg").symlink_to(root / "nowhere.jpg")
    return root


def test_files_and_folders_are_told_apart_and_counted_naturally(tmp_path: Path):
    root = _fill(tmp_path)
    assert [p.name for p in list_files(root, ".txt")] == ["a.txt", "notes.TXT"]
    assert [p.name for p in list_files(root, ".jpg", ".db")] == ["b9.jpg", "b10.JPG"]  # neither folder nor lost link
    assert [p.name for p in list_folders(root)] == ["9", "10", "folder.jpg", "linked"]
    assert [p.name for p in list_pictures(root)] == ["b9.jpg", "b10.JPG"]
    assert [p.relative_to(root).as_posix() for p in list_pictures(root, recursive=True)] == [
        "10/x.png",
        "b9.jpg",
        "b10.JPG",
    ]


def test_where_there_is_no_folder_nothing_is_listed(tmp_path: Path):
    assert list_files(tmp_path / "no", ".txt") == list_folders(tmp_path / "no") == list_pictures(tmp_path / "no") == []
