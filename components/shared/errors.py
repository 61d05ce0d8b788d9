"""Every error this project raises on purpose.

    PipelineError
    ├── ConfigError            a parameter or an option is wrong                (exit 2)
    ├── InputError             what the user gave cannot be used                (exit 2)
    │   ├── SourceError        a data source is missing, empty or unreachable
    │   ├── FormatError        an annotation file breaks its format
    │   └── UnsafeInputError   an archive, image or file tries to do harm
    ├── DataQualityError       too much of the data had to be rejected          (exit 1)
    ├── StoreError             the object store failed                          (exit 1)
    │   ├── NotFoundError      a key, version or alias is not in the store
    │   ├── ConflictError      somebody else changed it first
    │   ├── CredentialsError   nothing says who asks the store                 (exit 2)
    │   └── CorruptionError    bytes do not have the digest they should have
    ├── TrainingError          the training cannot start or go on               (exit 1)
    │   ├── DivergedError      the loss is no number any more
    │   ├── OutOfMemoryError   the batch does not fit the memory
    │   ├── CheckpointError    a checkpoint is corrupt or another training's
    │   └── PreemptedError     told to end; what was learned is saved           (exit 75)
    ├── ClusterError           Kubeflow or Kubernetes failed, or is not reached (exit 1)
    │   └── ClusterAccessError a wrong host, credential, name or right          (exit 2)
    ├── ArchiveError           a packed model is broken or not what it claims   (exit 1)
    └── ProofError             the packed model differs from the trained one    (exit 1)

A message is one sentence for the person who reads it at night: what is wrong, where, with the value, and what to do.
"""


def in_one_line(error: BaseException, *, most: int | None = None) -> str:
    """What an error says as the end of a sentence: on one line, at most that long, without a full stop; or its type."""
    return " ".join(str(error).split())[:most].rstrip(". ") or type(error).__name__


class PipelineError(Exception):
    """Root of the tree; ``exit_code`` is what a command exits with."""

    exit_code = 1


class ConfigError(PipelineError):
    """A parameter or an option is wrong."""

    exit_code = 2


class InputError(PipelineError):
    """What the user gave cannot be used."""

    exit_code = 2


class SourceError(InputError):
    """A data source is missing, empty or unreachable."""


class FormatError(InputError):
    """An annotation file breaks its format."""


class UnsafeInputError(InputError):
    """An archive, image or file tries to do harm."""


class DataQualityError(PipelineError):
    """Too much of the data had to be rejected."""


class StoreError(PipelineError):
    """The object store failed."""


class NotFoundError(StoreError):
    """A key, version or alias is not in the store."""


class ConflictError(StoreError):
    """Somebody else changed it first."""


class CredentialsError(StoreError):
    """Nothing says who asks the store."""

    exit_code = 2


class CorruptionError(StoreError):
    """Bytes do not have the digest they should have."""


class TrainingError(PipelineError):
    """The training cannot start or go on."""


class DivergedError(TrainingError):
    """The loss is no number any more."""


class OutOfMemoryError(TrainingError):
    """The batch does not fit the memory."""


class CheckpointError(TrainingError):
    """A checkpoint is corrupt or belongs to another training."""


class PreemptedError(TrainingError):
    """The training was told to end before it was done; the same step, run again, goes on where it was."""

    exit_code = 75  # the system's EX_TEMPFAIL: try again


class ClusterError(PipelineError):
    """Kubeflow or Kubernetes failed, or could not be reached; ``status`` is the answer's HTTP status, 0 without one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ClusterAccessError(ClusterError):
    """What was asked of a cluster was refused: a wrong host, credential, name or right."""

    exit_code = 2


class ArchiveError(PipelineError):
    """A packed model is broken or not what it claims to be."""


class ProofError(PipelineError):
    """The packed model differs from the trained one."""
