from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from pipelines.backends.local_cache import ContentCache, source_fingerprint


def make_cache(root: Path, hits: list[str], *, reuse: bool = True) -> ContentCache:
    return ContentCache(str(root), reuse=reuse, on_hit=lambda component, _: hits.append(component))


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
