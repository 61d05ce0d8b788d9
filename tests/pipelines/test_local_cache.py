from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from pipelines.backends.local_cache import ContentCache, source_fingerprint, weights_fingerprint


def make_cache(root: Path, hits: list[str], *, reuse: bool = True) -> ContentCache:
    return ContentCache(str(root), reuse=reuse, on_hit=lambda component, _given, _made: hits.append(component))


def key(cache: ContentCache, arguments: dict[str, Any], image: str = "python@sha256:1") -> str:
    return cache.compute_key(component_name="comp-model-pack", image=image, full_command=[], arguments=arguments)


def artifact(uri: str, digest: str) -> dsl.Dataset:
    return dsl.Dataset(name="d", uri=uri, metadata={"digest": digest})


def test_equal_content_in_another_place_has_the_same_key(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, [])
    assert key(cache, {"d": artifact("/a", "1")}) == key(cache, {"d": artifact("/b", "1")})
    assert key(cache, {"d": artifact("/a", "1")}) != key(cache, {"d": artifact("/a", "2")})


def test_other_code_or_another_parameter_has_another_key(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, [])
    assert key(cache, {"epochs": 1}) != key(cache, {"epochs": 2})
    assert key(cache, {"epochs": 1}) != key(cache, {"epochs": 1}, image="python@sha256:2")


@pytest.mark.parametrize("argument", ["weights", "start_from"])
def test_weights_that_changed_in_place_have_another_key_also_inside_a_setting(tmp_path: Path, argument: str) -> None:
    cache, path = make_cache(tmp_path, []), tmp_path / "best.pt"
    inside = {"overrides": {"model" if argument == "weights" else argument: str(path)}}
    path.write_bytes(b"1")
    before = [key(cache, {argument: str(path)}), key(cache, inside)]
    assert before == [key(cache, {argument: str(path)}), key(cache, inside)]
    path.write_bytes(b"2")
    after = [key(cache, {argument: str(path)}), key(cache, inside)]
    assert not set(before) & set(after)


@pytest.mark.parametrize(
    ("weights", "same"),
    [
        ("yolo11n.pt", True),
        ("", True),
        ("0123456789abcdef", True),
        ("champion", False),
        ("cats@champion", False),
        ("s3://b/best.pt", False),
    ],
)
def test_weights_that_may_have_moved_are_never_taken_for_the_same(weights: str, *, same: bool) -> None:
    assert (weights_fingerprint(weights) == weights_fingerprint(weights)) is same


def test_a_model_folder_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"1")
    before = weights_fingerprint(str(tmp_path))
    (tmp_path / "best.pt").write_bytes(b"2")
    assert weights_fingerprint(str(tmp_path)) != before


def test_a_list_of_artifacts_is_known_by_their_content(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, [])
    one, other = [artifact("/a", "1"), artifact("/b", "2")], [artifact("/c", "1"), artifact("/d", "2")]
    assert key(cache, {"models": one}) == key(cache, {"models": other})
    assert key(cache, {"models": one}) != key(cache, {"models": other[::-1]})


def test_a_setting_that_gave_no_model_is_tried_again(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", [])
    (tmp_path / "model").mkdir()
    failed = dsl.Artifact(name="m", uri=str(tmp_path / "model"), metadata={"failed": "The loss is no number."})
    cache.put(key(cache, {}), {"model": failed})
    assert cache.get(key(cache, {})) is None


def test_a_hit_is_told_and_a_fresh_run_never_hits(tmp_path: Path) -> None:
    hits: list[str] = []
    (tmp_path / "model").mkdir()
    outputs = {"model": dsl.Artifact(name="m", uri=str(tmp_path / "model"), metadata={})}
    cache = make_cache(tmp_path / "cache", hits)
    cache.put(key(cache, {}), outputs)
    assert cache.get(key(cache, {})) is not None
    assert hits == ["comp-model-pack"]
    fresh = make_cache(tmp_path / "cache", hits, reuse=False)
    assert fresh.get(key(fresh, {})) is None


def test_an_entry_whose_files_are_gone_is_no_hit(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", [])
    cache.put(key(cache, {}), {"model": dsl.Artifact(name="m", uri=str(tmp_path / "gone"), metadata={})})
    assert cache.get(key(cache, {})) is None


def test_a_dataset_whose_shards_left_the_store_is_no_hit(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    cache = make_cache(tmp_path / "cache", [])
    arguments = {"store": f"file://{tmp_path}/store"}
    cache.put(key(cache, arguments), {"dataset": artifact(str(tmp_path / "data"), "1")})
    assert cache.get(key(cache, arguments)) is None


@pytest.mark.parametrize("change", ["add", "edit", "rename"])
def test_a_changed_folder_has_another_fingerprint(tmp_path: Path, change: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    before = source_fingerprint(str(tmp_path))
    assert before == source_fingerprint(str(tmp_path))
    if change == "add":
        (tmp_path / "b.jpg").write_bytes(b"1")
    elif change == "edit":
        (tmp_path / "a.jpg").write_bytes(b"22")
    else:
        (tmp_path / "a.jpg").rename(tmp_path / "c.jpg")
    assert source_fingerprint(str(tmp_path)) != before


def test_changed_weights_have_another_key(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", [])
    weights = tmp_path / "start.pt"
    weights.write_bytes(b"1")
    before = key(cache, {"weights": str(weights)})
    weights.write_bytes(b"2")
    assert key(cache, {"weights": str(weights)}) != before
