from components.model_train.trainers.class_names import match_classes


def test_names_match_letter_for_letter_first_then_without_case_and_outer_spaces() -> None:
    assert match_classes(("Cat", "cat", "dog"), ("cat", "CAT", " Dog", "emu")) == (1, 0, 2, None)
