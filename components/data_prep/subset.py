"""The images a filter expression chooses, and a ledger row for each of the others."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import polars as pl

from components.data_prep import rows
from components.data_prep.expression import calls, check_expression, count_column, tag_column, to_polars
from components.shared.dataset import Dataset
from components.shared.errors import DataQualityError
from components.shared.expression import Expression, parse
from components.shared.ledger import Action, Rule

_NUMBERS = ("width", "height", "bytes", "brightness", "contrast")


def parse_subset(text: str) -> Expression | None:
    """The checked expression; ``None`` where there is none.

    Raises:
        ConfigError: it breaks the grammar, or a pattern in it cannot be used.
    """
    if not text.strip():
        return None
    expression = parse(text)
    check_expression(expression)
    return expression


def choose_images(dataset: Dataset, text: str, classes: Mapping[str, str]) -> tuple[Dataset, pl.DataFrame]:
    """Keep the images for which an expression holds.

    Args:
        dataset: raw, as the reader found it.
        text: the expression; empty keeps all.
        classes: category as found -> class; both names can be asked for.

    Returns:
        The dataset with the chosen images and their annotations, and a ledger row for each image left out, with the
        number of its annotations. Annotations without an image stay, for the rules to judge.

    Raises:
        ConfigError: it breaks the grammar or names a class or tag that the dataset has not.
        DataQualityError: it holds for no image.
    """
    expression = parse_subset(text)
    if expression is None:
        return dataset, rows.empty()
    facts = _facts(dataset, expression, classes)
    outside = facts.filter(~to_polars(expression.tree)).select("image_id", "name")
    if outside.height == dataset.images.height:
        raise DataQualityError(
            f"subset {text!r} holds for none of the {dataset.images.height} images: look at its values, "
            "or leave it empty to use all."
        )
    ledger = rows.image_rows(
        rows.with_lost(outside, dataset.annotations),
        Rule.SUBSET,
        Action.LEFT_OUT,
        before=pl.struct(annotations="lost"),
        detail=pl.format("subset does not hold for it; {} annotations went with it", "lost"),
    )
    kept = replace(
        dataset,
        images=dataset.images.join(outside, on="image_id", how="anti", maintain_order="left"),
        annotations=dataset.annotations.join(outside, on="image_id", how="anti", maintain_order="left"),
    )
    return kept, ledger


def _facts(dataset: Dataset, expression: Expression, classes: Mapping[str, str]) -> pl.DataFrame:
    """One row an image: what the expression may ask for."""
    truth = dataset.annotations.filter(pl.col("kind") == "ground_truth")
    asked = {name: _categories(dataset, expression, classes, *found) for name, found in _asked(expression).items()}
    counts = truth.group_by("image_id").agg(
        pl.len().alias("boxes"),
        *(pl.col("category").is_in(found).sum().alias(count_column(name)) for name, found in asked.items()),
    )
    folder = pl.col("name").str.extract(r"^(.*)/", 1).fill_null("")
    images = dataset.images.select(
        "image_id",
        "name",
        "split",
        "format",
        "tags",
        *(pl.col(name).cast(pl.Float64).fill_nan(None) for name in _NUMBERS),
        folder=folder,
    ).with_columns(aspect=pl.when(pl.col("height") > 0).then(pl.col("width") / pl.col("height")))
    joined = images.join(counts, on="image_id", how="left", maintain_order="left")
    counted = ["boxes", *map(count_column, asked)]
    return joined.with_columns(pl.col(counted).fill_null(0).cast(pl.Float64)).with_columns(
        _tags(joined.get_column("tags"), expression)
    )


def _asked(expression: Expression) -> dict[str, tuple[str, int]]:
    return {name: (name, place) for name, place in calls(expression.tree, "has", "count")}


def _categories(
    dataset: Dataset, expression: Expression, classes: Mapping[str, str], wanted: str, place: int
) -> list[str]:
    """Categories as found that are the wanted class; without regard to case where none is written so."""
    found = {*dataset.classes, *dataset.annotations.get_column("category").drop_nulls().unique(), *classes}
    exact = [name for name in found if wanted in {name, classes.get(name)}]
    if exact:
        return exact
    folded = [name for name in found if _fold(wanted) in {_fold(name), _fold(classes.get(name, name))}]
    if not folded:
        raise expression.error(
            place, f"the dataset has no class {wanted!r}; {_near(wanted, {*found, *classes.values()})}"
        )
    return folded


def _tags(tags: pl.Series, expression: Expression) -> list[pl.Series]:
    asked = dict(calls(expression.tree, "tag"))
    parsed = {text: json.loads(text) for text in tags.drop_nulls().unique()} if asked else {}
    known = {key for values in parsed.values() for key in values}
    columns = []
    for key, place in asked.items():
        if key not in known:
            raise expression.error(place, f"no image has a tag {key!r}; {_near(key, known)}")
        values = {text: values[key] for text, values in parsed.items() if key in values}
        column = tags.replace_strict(list(values), list(values.values()), default=None, return_dtype=pl.String)
        columns.append(column.alias(tag_column(key)))
    return columns


def _fold(name: str) -> str:
    return name.strip().casefold()


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(_fold(name), [_fold(each) for each in names], n=1)
    if near:
        return f"did you mean {next(each for each in names if _fold(each) == near[0])!r}?"
    shown = ", ".join(repr(each) for each in names[:10])
    return f"there are {shown}" if shown else "there are none"
