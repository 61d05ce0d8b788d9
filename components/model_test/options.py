"""What a proof is asked for."""

from dataclasses import dataclass

from components.shared.errors import ConfigError


@dataclass(frozen=True)
class ProofOptions:
    """What a proof is asked for.

    Attributes:
        images: validation images to compare on, besides the test image and an empty, a noisy and a large one.
        load_seconds: how long the service is asked by several clients at once; 0: not at all.
        max_latency_ms: what the 95th percentile of its answers may take, under that load where there is one; 0: any.
        recorded: content digest that was noted elsewhere when the model was packed; empty: not known.

    Raises:
        ConfigError: a value is below 0.
    """

    images: int = 8
    load_seconds: float = 0.0
    max_latency_ms: float = 0.0
    recorded: str = ""

    def __post_init__(self) -> None:
        for name in ("images", "load_seconds", "max_latency_ms"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} of a proof is {getattr(self, name)!r}: give 0 or more.")
