"""What each rule means and what a person can do about it, in words for the report."""

from components.shared.ledger import Rule
from components.shared.rules import CONFLICTING_DUPLICATE, HANDLING

_ADVICE: dict[Rule, tuple[str, str]] = {
    Rule.NON_FINITE: ("A coordinate is missing, NaN or infinite.", "Draw the box again, or look at what exported it."),
    Rule.OUTSIDE: (
        "The box lies wholly outside its image.",
        "Look whether the annotations belong to this image and to its size.",
    ),
    Rule.CLIPPED: (
        "The box reaches beyond the image; cut at its edge where it was fixed.",
        "Nothing, unless many are cut by much: then the image was resized after it was annotated.",
    ),
    Rule.TOO_SMALL: (
        "The box's shorter side is below min_box_size inside the image.",
        "Lower min_box_size if such objects matter; else nothing.",
    ),
    Rule.ZERO_AREA: ("The box has no width or no height.", "Mostly a stray click: remove it or draw it again."),
    Rule.DUPLICATE_ANNOTATION: (
        "The same class has the same box twice in one image.",
        "Look whether a merge or an import ran twice.",
    ),
    Rule.DUPLICATE_IMAGE: (
        "Several images have the same bytes; all of them are in one split.",
        "Where the annotations differ (kept), look which are right and remove the others.",
    ),
    Rule.DUPLICATE_IMAGE_ID: ("Two images have one id or name.", "Give each image its own."),
    Rule.UNKNOWN_CATEGORY: (
        "The annotation's class is not among the dataset's.",
        "Add the class to the source, map its name with class_aliases, or set unknown_classes to add.",
    ),
    Rule.UNREADABLE_IMAGE: (
        "The file is no image or is cut off; its annotations went with it.",
        "Copy or export the file again.",
    ),
    Rule.TINY_IMAGE: (
        "The image is too small for any trainer; its annotations went with it.",
        "Mostly a thumbnail, a spacer or an icon: remove it.",
    ),
    Rule.SIZE_MISMATCH: (
        "The annotations name another image size than the file has; where fixed, its boxes were scaled or turned.",
        "Look at the pictures of those left alone; annotate again on the file itself if they do not fit.",
    ),
    Rule.MISSING_IMAGE: (
        "The annotations name an image that was not found.",
        "Add the file, or look at the paths in the annotations.",
    ),
    Rule.MALFORMED: ("The record breaks its format.", "Mend the place that the ledger names."),
    Rule.UNSAFE_NAME: (
        "The name leads out of the data's own folder or has control characters.",
        "Rename the file, and name it relative to the data set.",
    ),
    Rule.UNLISTED_IMAGE: (
        "Images lie in the source that no annotation file names, so they are not in the dataset.",
        "Nothing, if they are of another split; else list them, as images without boxes if they show nothing.",
    ),
    Rule.NAME_CONFLICT: (
        "Two of the merged data sets have an image of one name with other content.",
        "Rename one, or say with name_conflicts which counts.",
    ),
    Rule.VERIFIED_BAD: (
        "A verification job found the labels of this image bad.",
        "Label it again; its other data is untouched.",
    ),
    Rule.NEAR_DUPLICATE: (
        "The image looks almost like another one; both are in one split.",
        "Nothing, unless it changed its split: frames of one scene must not be on both sides.",
    ),
    Rule.SUBSET: ("The subset expression does not hold for it.", "Nothing: it was asked for."),
    Rule.BALANCE: (
        "Its only class has more than max_class_share of the boxes.",
        "Nothing: it was asked for. Bring more images of the other classes.",
    ),
    Rule.TILE: (
        "Too little of the object is visible in a tile, so that tile does not show it.",
        "Raise tile_overlap if objects are lost in every tile; lower tile_min_visible.",
    ),
}


def _with_switch(rule: Rule, meaning: str, advice: str) -> tuple[str, str]:
    """The advice with what the rules option can do instead."""
    names = [rule.value, *([CONFLICTING_DUPLICATE] if rule is Rule.DUPLICATE_IMAGE else [])]
    others = []
    for name in names:
        handling = HANDLING.get(name)
        choices = [choice for choice in handling.choices if choice != handling.default] if handling else []
        if choices:
            others.append(f"{name!r} can be {' or '.join(choices)}")
    return meaning, f"{advice} In rules, {', '.join(others)}." if others else advice


ADVICE: dict[Rule, tuple[str, str]] = {
    rule: _with_switch(rule, meaning, advice) for rule, (meaning, advice) in _ADVICE.items()
}
