"""Archives of published files: read where they are whole, refused where they are not harmless."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import datasets
from datasets.errors import DatasetError
from datasets.formats import exporting, importing
from datasets.recorded.store import Dataset
from datasets.sources import archives

KINDS = {"zip": "zip", "tar": "tar", "tar.gz": "gztar", "tar.bz2": "bztar", "tar.xz": "xztar"}


@pytest.fixture(scope="module")
def exported(expert: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder simple_spread/expert/seed_0_data in OMAR's layout, 3 % of the expert set."""
    part = Dataset(expert.folder, fraction=0.03)
    root = tmp_path_factory.mktemp("published")
    exporting.export(part, root / "simple_spread" / "expert" / "seed_0_data")
    return root


def pack(root: Path, kind: str, place: Path) -> Path:
    return Path(shutil.make_archive(str(place / "data"), KINDS[kind], root))


def bring_in(path: Path, root: Path, name: str = "x") -> Dataset:
    importing.import_dataset("omar", path, "mpe/spread", name, root)
    return datasets.load(f"import/{name}", data_dir=root)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_reads_as_its_folder(kind: str, exported: Path, tmp_path: Path) -> None:
    plain = bring_in(exported / "simple_spread/expert/seed_0_data", tmp_path, "plain")
    archive = pack(exported, kind, tmp_path)
    packed = bring_in(archive, tmp_path)  # single folders are entered
    inside = bring_in(archive / "simple_spread/expert", tmp_path, "inside")
    for dataset in (packed, inside):
        assert dataset.card["checksum"] == plain.card["checksum"]
        recipe = dataset.card["recipe"]
        assert recipe["source_files"] == plain.card["recipe"]["source_files"]
        assert recipe["archive"]["name"] == archive.name
        assert len(recipe["archive"]["sha256"]) == 64
    assert sorted(p.name for p in (tmp_path / "import").iterdir()) == ["inside", "plain", "x"]


def test_errors_name_the_archive(exported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    (copy / "simple_spread/expert/seed_0_data/acs_1.npy").unlink()
    archive = pack(copy, "zip", tmp_path)
    with pytest.raises(DatasetError, match=r"data\.zip/simple_spread/.*/acs_1\.npy is missing"):
        bring_in(archive, tmp_path)
    with pytest.raises(DatasetError, match=r"data\.zip holds no file below 'elsewhere'"):
        bring_in(archive / "elsewhere", tmp_path)
    assert not list((tmp_path / "import").iterdir())


def make_tar(path: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return path


def make_zip(path: Path, name: str, content: bytes = b"x", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        member = zipfile.ZipInfo(name)
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = mode << 16
        file.writestr(member, content)
    return path


def unpack(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "into" / "folder"
    folder.mkdir(parents=True)
    archives.unpack(archive, "", folder)


NAMES = ["../out.npy", "a/../../out.npy", "/tmp/out.npy", "..", "a\\..\\out.npy", "C:/out.npy"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out_are_refused(kind: str, name: str, tmp_path: Path) -> None:
    if kind == "zip":
        archive = make_zip(tmp_path / "x.zip", name)
    else:
        archive = make_tar(tmp_path / "x.tar.gz", tarfile.TarInfo(name), b"x")
    with pytest.raises(DatasetError, match="leads out of the folder") as caught:
        unpack(archive, tmp_path)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted([archive.name, "into", "folder"])


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo("seed_0_data/obs_0.npy")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(DatasetError, match="a link or device"):
        unpack(make_tar(tmp_path / "x.tgz", member), tmp_path)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", "obs_0.npy", b"/etc/passwd", 0o120777)
    with pytest.raises(DatasetError, match="a link or device"):
        unpack(archive, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_bombs_are_stopped_while_they_unpack(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros pack a thousandfold; no more than the allowance reaches the disk."""
    monkeypatch.setattr(archives, "ALWAYS", 1 << 20)
    zeros = bytes(40 << 20)
    if kind == "zip":
        archive = make_zip(tmp_path / "x.zip", "obs_0.npy", zeros)
    else:
        archive = make_tar(tmp_path / "x.tar.gz", tarfile.TarInfo("obs_0.npy"), zeros)
    with pytest.raises(DatasetError, match="more than 100 times its size"):
        unpack(archive, tmp_path)
    assert (tmp_path / "into/folder/obs_0.npy").stat().st_size <= 101 * archive.stat().st_size


def test_what_does_not_fit_on_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "SPARE", 1 << 60)
    with pytest.raises(DatasetError, match="does not fit on the disk"):
        unpack(make_zip(tmp_path / "x.zip", "obs_0.npy"), tmp_path)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for i in range(4):
            file.writestr(f"{i}.npy", "x")
    with pytest.raises(DatasetError, match="more than 3 files"):
        unpack(tmp_path / "x.zip", tmp_path)


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", "x")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.npy", "y")


def file_as_folder(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", "x")
        file.writestr("a/b", "y")


@pytest.mark.parametrize("make", [twice, file_as_folder])
def test_two_members_of_one_name_are_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x.zip")
    with pytest.raises(DatasetError, match="two members of one name"):
        unpack(tmp_path / "x.zip", tmp_path)


def encrypted(path: Path) -> None:
    make_zip(path, "a.npy")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag of the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz", ".tgz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"not an archive" * 99])
def test_damaged_archives_are_one_sentence(content: bytes, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot be unpacked|holds no file") as caught:
        bring_in(tmp_path / f"x{suffix}", tmp_path)
    assert "\n" not in str(caught.value)


def test_cut_and_encrypted_archives_are_one_sentence(exported: Path, tmp_path: Path) -> None:
    whole = pack(exported, "tar.gz", tmp_path)
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        bring_in(whole, tmp_path)
    encrypted(tmp_path / "x.zip")
    with pytest.raises(DatasetError, match=r"encrypted.*unpack it yourself"):
        bring_in(tmp_path / "x.zip", tmp_path)


def test_a_folder_that_is_called_like_an_archive_is_a_folder(
    exported: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported / "simple_spread/expert/seed_0_data", tmp_path / "a.zip")
    assert "archive" not in bring_in(folder, tmp_path).card["recipe"]
