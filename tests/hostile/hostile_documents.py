"""JSON, XML, YAML and manifests that explode, run code or mean something else than they say."""

import json
from pathlib import Path

from hostile_case import HARMLESS, Case, coco, picture, tree, voc

UNSAFE, FORMAT = "UnsafeInputError", "FormatError"
_IMAGE = {"images/a.jpg": picture()}
_LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
_BOX = '{"id":1,"image_id":0,"category_id":1,"bbox":[%s,1,9,9]}'
_HEAD = (
    '{"images":[{"id":0,"file_name":"a.jpg"}],"categories":[{"id":1,"name":"cat"}],'
    '"annotations":[{"id":2,"image_id":0,"category_id":1,"bbox":[1,1,9,9]},'
)
_MANIFEST = {
    "source-ref": "a.jpg",
    "x": {"annotations": [{"class_id": 0, "left": 1, "top": 1, "width": 9, "height": 9}]},
    "x-metadata": {"type": "groundtruth/object-detection", "class-map": {"0": "cat"}},
}
_LINE = json.dumps(_MANIFEST)


def _voc(
    name: str, text: str, says: str = "a.jpg", *, rule: str | None = "malformed", error: str | None = None
) -> Case:
    """A VOC file that does harm beside one that does not."""
    files = {
        "Annotations/a.xml": text,
        "JPEGImages/a.jpg": picture(),
        "Annotations/b.xml": voc(),
        "JPEGImages/b.jpg": picture(),
    }
    return Case(name, tree(files, honest=False), says, error, rule, "voc")


def _yaml(name: str, text: str, error: str | None = FORMAT, rule: str | None = None) -> Case:
    return Case(name, tree({"data.yaml": text}), "data.yaml", error, rule, "yolo")


def _json(name: str, text: str | bytes, says: str, error: str | None = None, rule: str | None = None) -> Case:
    return Case(name, tree({"a.json": text, **_IMAGE}, honest=False), says, error, rule, "coco")


def _manifest(name: str, text: str, says: str, *, error: str | None = None, rule: str | None = "malformed") -> Case:
    files = {"a.manifest": f"{_LINE}\n{text}\n", **_IMAGE}
    return Case(name, tree(files, honest=False), says, error, rule, "groundtruth")


def _secret(folder: Path, outside: Path) -> Path:
    """An entity that would read a file from elsewhere into a class name."""
    head = f'<!DOCTYPE a [<!ENTITY secret SYSTEM "file://{outside}/secret.txt">]>'
    text = voc(head=head).replace("cat", "&secret;")
    files = {
        "Annotations/a.xml": text,
        "JPEGImages/a.jpg": picture(),
        "Annotations/b.xml": voc(),
        "JPEGImages/b.jpg": picture(),
    }
    return tree(files, honest=False)(folder, outside)


CASES = (
    _voc(
        "an entity that laughs a billion times",
        voc(head=f'<!DOCTYPE a [<!ENTITY l0 "ha">{_LAUGHS}]>', inner="<x>&l11;</x>"),
    ),
    _voc(
        "an entity in UTF-16",
        voc(head='<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY e "ha">]>', inner="<x>&e;</x>").encode(
            "utf-16"
        ),
    ),
    _voc(
        "an entity behind a byte order mark", "\ufeff" + voc(head='<!DOCTYPE a [<!ENTITY e "ha">]>', inner="<x>&e;</x>")
    ),
    _voc("an entity of quadratic size", voc(head=f'<!DOCTYPE a [<!ENTITY l "{"x" * 50_000}">]>', inner="&l;" * 50_000)),
    Case("an entity that reads a file", _secret, "a.jpg", None, "malformed", "voc"),
    _voc(
        "an entity that asks a server", voc(head='<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]>', inner="&e;")
    ),
    _voc("a document type from a server", voc(head='<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">'), rule=HARMLESS),
    _voc("a parameter entity", voc(head='<!DOCTYPE a [<!ENTITY % e SYSTEM "http://127.0.0.1:9/">%e;]>')),
    _voc("XML nested a hundred thousand deep", "<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>"),
    _voc("XML of a million empty elements", f"<annotation>{'<a/>' * 1_000_000}</annotation>", rule=HARMLESS),
    _voc("XML of ten million empty elements", f"<annotation>{'<a/>' * 10_000_000}</annotation>"),
    _voc(
        "XML of a million attributes",
        "<annotation " + " ".join(f'a{i}="1"' for i in range(300_000)) + "/>",
        rule=HARMLESS,
    ),
    _voc("XML that is cut short", voc()[:-9]),
    _voc(
        "XML that includes a file",
        voc('<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>'),
        rule=HARMLESS,
    ),
    _yaml(
        "YAML whose aliases explode",
        "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(9)),
    ),
    _yaml("YAML that runs a program", 'names: !!python/object/apply:os.system ["touch CANARY"]'),
    _yaml("YAML that makes an object", "names: !!python/object/new:os.system [touch CANARY]"),
    _yaml("YAML with a tag of its own", "names: !cat [a]"),
    _yaml("YAML nested deep", "names: " + "[" * 5000 + "]" * 5000),
    _yaml("YAML with a merge of itself", "a: &a\n  <<: *a\nnames: [cat]"),
    _yaml("YAML with a long line of anchors", "names: [" + ", ".join(f"&a{i} x" for i in range(20_000)) + "]"),
    _json("JSON nested deep", _HEAD + "[" * 100_000 + "]" * 100_000 + "]}", "a.json", UNSAFE),
    _json("JSON with NaN for a side", _HEAD + _BOX % "NaN" + "]}", "a.jpg", rule="non-finite"),
    _json("JSON with an infinite side", _HEAD + _BOX % "-Infinity" + "]}", "a.jpg", rule="non-finite"),
    _json("JSON with a number too large for a float", _HEAD + _BOX % "1e999" + "]}", "a.jpg", rule="non-finite"),
    _json("JSON with a number of a million digits", _HEAD + _BOX % ("9" * 1_000_000) + "]}", "a.json"),
    _json("JSON with a number of five hundred digits", _HEAD + _BOX % ("9" * 500) + "]}", "a.jpg"),
    _json(
        "JSON with a key twice",
        _HEAD.replace('"file_name":"a.jpg"', '"file_name":"b.jpg","file_name":"a.jpg"') + "{}]}",
        "",
        rule=HARMLESS,
    ),
    _json("JSON whose lists are no lists", '{"images":{"a":1},"annotations":"x","categories":7}', "", FORMAT),
    _json(
        "JSON of a million empty lists in one record",
        _HEAD + '{"segmentation":[' + "[]," * 1_000_000 + "[]]}]}",
        "a.json",
    ),
    _json("JSON cut short", _HEAD, "a.json", FORMAT),
    _json(
        "JSON with half a surrogate pair for a class",
        coco("a.jpg", categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "\ud800"}]),
        "a.json",
        rule="unsafe name",
    ),
    _json("JSON with half a surrogate pair for a name", coco("a.jpg", "\ud800.jpg"), "a.json", rule="unsafe name"),
    _json("JSON in another encoding", coco("a.jpg").encode("utf-16"), "", rule=HARMLESS),
    _json(
        "JSON of eighteen megabytes in another encoding", f"{coco('a.jpg'):9000000}".encode("utf-16"), "a.json", UNSAFE
    ),
    _manifest("a manifest line nested deep", "[" * 100_000, "a.manifest:2"),
    _manifest("a manifest line of twenty megabytes", '{"x":"' + "y" * (20 << 20) + '"}', "a.manifest:2"),
    _manifest("a manifest of half a million broken lines", "{\n" * 500_000, "a.manifest:", error=FORMAT, rule=None),
    _manifest(
        "a manifest whose classes disagree", _LINE.replace("cat", "dog"), "a.manifest:2", error=FORMAT, rule=None
    ),
    _manifest("a manifest of text", '{"source":"some text"}', "a.manifest:2"),
    Case(
        "YMIR labels whose aliases explode",
        tree({"gt/a.xml": voc(), "labels.yaml": "a: &a [x]\nlabels: [*a, *a]", **_IMAGE}, honest=False),
        "labels.yaml",
        None,
        "malformed",
        "ymir",
    ),
    Case(
        "a model file that runs a program",
        tree(
            {
                "gt/a.xml": voc(),
                "pred/a.xml": voc(),
                "pred/meta.yaml": "model: !!python/object/apply:os.system [touch CANARY]",
                **_IMAGE,
            },
            honest=False,
        ),
        "pred/meta.yaml",
        None,
        "malformed",
        "ymir",
    ),
    _yaml("YAML of half a megabyte of names", "names:\n" + "- a\n" * 150_000),
    _json("JSON of half a million empty records", _HEAD + "{}," * 500_000 + "{}]}", "a.json", FORMAT),
)
