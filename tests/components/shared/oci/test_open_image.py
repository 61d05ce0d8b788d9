"""A packed model comes out of an image as it went in, and no image, however it is made, can do harm."""

import gzip
import io
import json
import runpy
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.shared.archive import open_archive
from components.shared.errors import ArchiveError, PipelineError, UnsafeInputError
from components.shared.files import sha256_tree
from components.shared.oci import layer as layer_module
from components.shared.oci import tree as tree_module
from components.shared.oci.bento import CONTENT_LABEL, open_image
from components.shared.oci.blobs import open_blobs

MADE: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("hand_made.py")))
SMALL: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "model_publish" / "small_archive.py"))
HOME: str = MADE["HOME"]
BASE = [("etc", None), ("etc/passwd", b"root"), ("bin", "usr/bin"), ("dev/null", "!"), ("usr/bin/a", b"a")]
layer, oci_layout, docker_archive = MADE["layer"], MADE["oci_layout"], MADE["docker_archive"]
Member = tuple[str, bytes | str | None]
Open = Callable[..., dict[str, str]]


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    return open_archive(SMALL["make_archive"](tmp_path / "archive"), tmp_path / "opened").bento


@pytest.fixture
def members(bento: Path) -> list[Member]:
    found: list[Member] = MADE["bento_members"](bento)
    return found


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Opens an image file; gives the digests of what came out."""

    def call(path: Path, tag: str = "") -> dict[str, str]:
        work = tmp_path / "work"
        found = open_image(open_blobs(path), work, tag)
        assert [entry.name for entry in work.iterdir()] == ["bento"], "nothing is written beside it"
        return sha256_tree(found.bento)

    return call


@pytest.mark.parametrize("packed", [True, False])
def test_a_model_comes_out_of_an_oci_layout_as_it_went_in(
    tmp_path: Path, bento: Path, members: list[Member], opened: Open, packed: bool
) -> None:
    image = oci_layout(tmp_path / "image", [layer(BASE), layer(members)], packed=packed)
    assert opened(image) == sha256_tree(bento)


@pytest.mark.parametrize("links", [True, False])
def test_a_model_comes_out_of_a_docker_archive_as_it_went_in(
    tmp_path: Path, bento: Path, members: list[Member], opened: Open, links: bool
) -> None:
    image = docker_archive(tmp_path / "image.tar", [layer(BASE), layer(members)], links=links)
    assert opened(image) == sha256_tree(bento)


def test_an_oci_layout_in_a_tar_is_read_too(tmp_path: Path, bento: Path, members: list[Member], opened: Open) -> None:
    image = oci_layout(tmp_path / "image", [layer(members)])
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(image, ".")
    assert opened(tmp_path / "image.tar") == sha256_tree(bento)


def test_a_later_layer_wins_and_whiteouts_hide_what_lies_below(
    tmp_path: Path, bento: Path, members: list[Member], opened: Open
) -> None:
    weights = f"{HOME}/src/model/best.pt"
    rest = [(name, data) for name, data in members if name != weights]
    layers = [
        layer([(f"{HOME}/old.txt", b"old"), (f"{HOME}/src/old/deep.txt", b"old"), (weights, b"other weights")]),
        layer([(f"{HOME}/src/.wh.old", b""), (f"{HOME}/.wh.old.txt", b""), *rest]),
        layer([(weights, dict(members)[weights])]),
    ]
    assert opened(oci_layout(tmp_path / "image", layers)) == sha256_tree(bento)


def test_an_opaque_folder_hides_everything_below_but_not_its_own_layer(
    tmp_path: Path, bento: Path, members: list[Member], opened: Open
) -> None:
    layers = [layer([(f"{HOME}/added.txt", b"old")]), layer([*members, (f"{HOME}/.wh..wh..opq", b"")])]
    assert opened(oci_layout(tmp_path / "image", layers)) == sha256_tree(bento)


def test_a_model_that_a_whiteout_removed_is_not_found(tmp_path: Path, members: list[Member], opened: Open) -> None:
    image = oci_layout(tmp_path / "image", [layer(members), layer([("home/.wh.bentoml", b"")])])
    with pytest.raises(ArchiveError, match="holds no packed model of this project"):
        opened(image)


def test_one_of_several_images_is_named_by_its_tag(
    tmp_path: Path, bento: Path, members: list[Member], opened: Open
) -> None:
    image = oci_layout(tmp_path / "image", [layer(BASE)], tag="base")
    oci_layout(image, [layer(members)], tag="1")
    with pytest.raises(ArchiveError, match=r"does not hold exactly one image: .* its tags: 'base', '1'"):
        opened(image)
    assert opened(image, "1") == sha256_tree(bento)


HOSTILE: dict[str, list[list[Member]]] = {
    "climbs": [[("../../evil", b"x")]],
    "climbs deep": [[(f"{HOME}/src/../../../../../evil", b"x")]],
    "link in the model": [[(f"{HOME}/src/model/extra", "/etc/passwd")]],
    "hard link in the model": [[(f"{HOME}/src/model/extra", "=etc/passwd")]],
    "weights are a link": [[(f"{HOME}/src/model/best.pt", "/etc/passwd")]],
    "device in the model": [[(f"{HOME}/src/model/extra", "!")]],
    "through a link": [[(f"{HOME}/src/sub", "/tmp")], [(f"{HOME}/src/sub/evil", b"x")]],
    "below a file": [[(f"{HOME}/bento.yaml/evil", b"x")]],
    "twice": [[(f"{HOME}/src/model/best.pt", b"one"), (f"{HOME}/src/model/best.pt", b"two")]],
    "too deep": [[("/".join("d" * 300), b"x")]],
}


@pytest.mark.parametrize("attack", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_layer_that_tries_to_do_harm_is_refused(
    tmp_path: Path, members: list[Member], opened: Open, attack: list[list[Member]]
) -> None:
    image = oci_layout(tmp_path / "image", [layer(BASE), layer(members), *map(layer, attack)])
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UnsafeInputError, match=r"do not trust this image"):
        opened(image)
    assert not list(tmp_path.parent.glob("evil"))
    assert {path for path in tmp_path.rglob("*") if path.is_file()} <= before


def test_a_model_below_a_link_of_a_lower_layer_is_refused(tmp_path: Path, members: list[Member], opened: Open) -> None:
    image = oci_layout(tmp_path / "image", [layer([("home", None), ("home/bentoml", "/opt")]), layer(members)])
    with pytest.raises(UnsafeInputError, match="'/home/bentoml' in the image is a path that tools read in different"):
        opened(image)


DIFFERENT: dict[str, tuple[str, bytes | None, str]] = {
    "another file": ("src/model/best.pt", b"other weights", "'src/model/best.pt' .* has other bytes"),
    "a file added": ("src/extra.py", b"import os", "'src/extra.py' .* was added later"),
    "no file": ("src/.wh.service.py", b"", "'src/service.py' is missing"),
    "no manifest": ("src/.wh.manifest.json", b"", "holds no packed model"),
}


@pytest.mark.parametrize(("name", "data", "message"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_a_model_that_is_not_what_its_manifest_says_is_refused(
    tmp_path: Path, members: list[Member], opened: Open, name: str, data: bytes, message: str
) -> None:
    image = oci_layout(tmp_path / "image", [layer(members), layer([(f"{HOME}/{name}", data)])])
    with pytest.raises(ArchiveError, match=message):
        opened(image)


def test_a_label_that_says_another_model_is_refused(tmp_path: Path, members: list[Member], opened: Open) -> None:
    image = oci_layout(tmp_path / "image", [layer(members)], labels={CONTENT_LABEL: "0" * 64})
    with pytest.raises(ArchiveError, match=r"label of the image .* says its model's content digest is '0000"):
        opened(image)


def test_two_models_in_one_image_are_refused(tmp_path: Path, bento: Path, members: list[Member], opened: Open) -> None:
    image = oci_layout(tmp_path / "image", [layer(members), layer(MADE["bento_members"](bento, "opt/other"))])
    with pytest.raises(ArchiveError, match=rf"holds 2 packed models \('/{HOME}', '/opt/other'\)"):
        opened(image)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_changed_bit_anywhere_in_the_image_is_noticed(tmp_path: Path, members: list[Member], opened: Open) -> None:
    image = oci_layout(tmp_path / "image", [layer(BASE), layer(members)])
    for blob in (image / "blobs" / "sha256").iterdir():
        flip(blob)
        with pytest.raises(ArchiveError, match="other bytes"):
            opened(image)
        flip(blob)
    opened(image)


def test_a_docker_archives_layers_are_held_against_their_digests(
    tmp_path: Path, members: list[Member], opened: Open
) -> None:
    good, other = layer(members), layer([*members, ("etc/extra", b"x")])
    image = docker_archive(tmp_path / "image.tar", [good])
    image.write_bytes(image.read_bytes().replace(good[: len(good) - 1024], other[: len(good) - 1024]))
    with pytest.raises(ArchiveError, match=r"is not 'sha256:[0-9a-f]{64}': copy|damaged"):
        opened(image)


def test_a_cut_image_is_damaged(tmp_path: Path, members: list[Member], opened: Open) -> None:
    image = docker_archive(tmp_path / "image.tar", [layer(members)])
    image.write_bytes(image.read_bytes()[:3000])
    with pytest.raises(ArchiveError):
        opened(image)


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, members: list[Member], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_module, "RATIO_FROM", 1 << 20)
    image = oci_layout(tmp_path / "image", [layer(members), layer([("zeros", bytes(8 << 20))])])
    with pytest.raises(UnsafeInputError, match=r"unpacks to more than .* it is a bomb"):
        opened(image)


def test_too_many_files_are_refused(
    tmp_path: Path, members: list[Member], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "MAX_MEMBERS", 50)
    image = oci_layout(tmp_path / "image", [layer(members), layer([(f"f{n}", b"") for n in range(60)])])
    with pytest.raises(UnsafeInputError, match="more than 50 files"):
        opened(image)


def test_a_header_of_many_megabytes_is_refused(tmp_path: Path, opened: Open) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    bad = header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
    with pytest.raises(UnsafeInputError, match="has a header of 1073741824 bytes"):
        opened(oci_layout(tmp_path / "image", [bad]))
    (tmp_path / "image.tar").write_bytes(bad)
    with pytest.raises(UnsafeInputError, match="has a header of"):
        opened(tmp_path / "image.tar")


def test_a_layout_whose_files_lead_elsewhere_is_refused(tmp_path: Path, members: list[Member], opened: Open) -> None:
    image = oci_layout(tmp_path / "image", [layer(members)])
    secret = tmp_path / "secret"
    (image / "index.json").rename(secret)
    (image / "index.json").symlink_to(secret)
    with pytest.raises(UnsafeInputError, match="leads out of the image"):
        opened(image)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc/passwd", "a\\b"])
def test_a_docker_archive_that_names_files_outside_is_refused(tmp_path: Path, opened: Open, name: str) -> None:
    listed = json.dumps([{"Config": name, "RepoTags": None, "Layers": []}]).encode()
    (tmp_path / "image.tar").write_bytes(layer([("manifest.json", listed)]))
    with pytest.raises(UnsafeInputError, match="do not trust this image"):
        opened(tmp_path / "image.tar")


def test_links_in_a_circle_end(tmp_path: Path, opened: Open) -> None:
    listed = json.dumps([{"Config": "a", "Layers": []}]).encode()
    (tmp_path / "image.tar").write_bytes(layer([("a", "b"), ("b", "a"), ("manifest.json", listed)]))
    with pytest.raises(ArchiveError, match="'a' is missing"):
        opened(tmp_path / "image.tar")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"manifests": [{"digest": "sha256:../../x"}]}', '{"manifests": []}', "[" * 5000]
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, opened: Open, text: str) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "index.json").write_text(text)
    with pytest.raises(PipelineError):
        opened(tmp_path / "image")


@pytest.mark.parametrize(
    "data",
    [b"", b"no tar", b"\x1f\x8b" + bytes(600), gzip.compress(b"x" * 2000, mtime=0)],
    ids=["empty", "text", "a broken gzip", "a gzip of text"],
)
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, opened: Open, data: bytes) -> None:
    (tmp_path / "image.tar").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"is no (tar of an )?image"):
        opened(tmp_path / "image.tar")


def test_a_layer_packed_with_zstd_is_named(tmp_path: Path, members: list[Member], opened: Open) -> None:
    image = oci_layout(tmp_path / "image", [b"\x28\xb5\x2f\xfd" + layer(members)], packed=False)
    with pytest.raises(ArchiveError, match="packed with zstd: copy the image with 'skopeo copy"):
        opened(image)


def test_a_layer_with_a_negative_size_is_damaged(tmp_path: Path, opened: Open) -> None:
    header = tarfile.TarInfo("x")
    header.size = 0
    raw = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = b"\xff" * 11 + b"\x00"
    raw[148:156] = b"        "
    raw[148:156] = f"{sum(raw):06o}\0 ".encode()
    with pytest.raises(ArchiveError):
        opened(oci_layout(tmp_path / "image", [bytes(raw) + bytes(1024)]))


def test_the_stream_of_a_layer_is_read_as_tarfile_reads_a_file(members: list[Member]) -> None:
    data = layer(members)
    stream = layer_module.LayerStream(io.BytesIO(data), len(data), "layer")
    with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
        assert {info.name: tar.extractfile(info).read() for info in tar} == dict(members)
    assert stream.finish() == f"sha256:{MADE['sha256'](data)}"
