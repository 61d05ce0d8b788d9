"""Every parameter is part of what a model comes from, or is left out for a reason: a new one is decided on here."""

from components.change_check.component import change_check
from pipelines.config import TrainingConfig

IN_THE_SPLITS = {
    *("source", "format", "label_attribute", "name_conflicts", "sql_query", "sample_images", "sample_edge", "name"),
    *("subset", "target_classes", "drop_classes", "class_aliases", "unknown_classes", "rules", "min_box_size"),
    *("split", "train_share", "val_share", "test_share", "val_images", "test_images", "group_by", "near_duplicates"),
    *("max_class_share", "oversample_below", "tile_min_visible"),
}
"""Their effect is in the splits' content."""

PLACES_AND_GUARDS = {
    *("accelerator", "affinity", "device", "gpus", "node_selector", "tolerations", "train_cpu", "train_memory"),
    *("allow_private_addresses", "max_download_gb", "max_rejected_share", "max_hours", "attempt_hours"),
    *("checkpoint_epochs", "checkpoint_minutes", "resume", "deploy", "model_registry"),
}


def test_every_parameter_is_in_the_basis_or_left_out_for_a_reason() -> None:
    assert not IN_THE_SPLITS & PLACES_AND_GUARDS
    taken = set(change_check.component_spec.inputs) & TrainingConfig.model_fields.keys()
    assert TrainingConfig.model_fields.keys() - taken == IN_THE_SPLITS | PLACES_AND_GUARDS
