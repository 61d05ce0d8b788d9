"""How a training is looked after; nothing here changes the weights an epoch ends with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Care:
    """Limits, checkpoints and warnings.

    Attributes:
        patience: stop after this many epochs without a better ``map50_95``; 0: never.
        max_hours: stop with the best weights so far after this many hours, all attempts together; 0: no limit.
        attempt_hours: save and end this attempt after so many hours, so that a retry goes on; 0: no limit.
        resume: ``auto``: go on from this training's checkpoint where there is one; ``never``: begin anew,
            whatever earlier runs left; a retry of the same run goes on all the same.
        checkpoint_minutes: at least this long between two uploads; 0: as often as ``checkpoint_epochs`` says.
        checkpoint_epochs: epochs between two checkpoints.
        overfitting: ``off``, ``warn`` or ``stop``.
        overfit_patience: epochs the validation loss may stay above its minimum while the training loss falls.
        grace_seconds: from the request to end until the process is killed.
    """

    patience: int = 0
    max_hours: float = 0.0
    attempt_hours: float = 0.0
    resume: str = "auto"
    checkpoint_minutes: float = 5.0
    checkpoint_epochs: int = 1
    overfitting: str = "warn"
    overfit_patience: int = 10
    grace_seconds: float = 30.0
