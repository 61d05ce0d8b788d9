"""A run as Kubeflow's v2beta1 API tells of it, in the fields that explain something."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.shared.errors import ClusterError


class _Told(BaseModel):
    """Something the API tells; a null counts as absent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:  # noqa: ANN401 - whatever came
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value


class _State(_Told):
    update_time: datetime | None = None
    state: str = ""

    @field_validator("state")
    @classmethod
    def _unspecified_is_none(cls, value: str) -> str:
        return "" if value == "RUNTIME_STATE_UNSPECIFIED" else value


class _Task(_State):
    """A node of Argo, in KFP's words; a time in the year 1 means that there is none."""

    display_name: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None

    @field_validator("start_time", "end_time")
    @classmethod
    def _no_zero_time(cls, value: datetime | None) -> datetime | None:
        return None if value is None or value.year <= 1 else value


class _Details(_Told):
    task_details: list[_Task] = Field(default_factory=list)


class _Reference(_Told):
    pipeline_id: str = ""
    pipeline_version_id: str = ""


class _Configuration(_Told):
    parameters: dict[str, Any] = Field(default_factory=dict)
    pipeline_root: str = ""


class _Error(_Told):
    message: str = ""


class KfpRun(_State):
    """A run of the v2beta1 API."""

    run_id: str = ""
    display_name: str = ""
    experiment_id: str = ""
    storage_state: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None
    service_account: str = ""
    recurring_run_id: str = ""
    pipeline_spec: dict[str, Any] = Field(default_factory=dict)
    pipeline_version_reference: _Reference = Field(default_factory=_Reference)
    runtime_config: _Configuration = Field(default_factory=_Configuration)
    run_details: _Details = Field(default_factory=_Details)
    state_history: list[_State] = Field(default_factory=list)
    error: _Error = Field(default_factory=_Error)

    @field_validator("created_at", "finished_at")
    @classmethod
    def _no_zero_time(cls, value: datetime | None) -> datetime | None:
        return None if value is None or value.year <= 1970 else value  # noqa: PLR2004 - KFP's word for not yet

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that it was started with."""
        return self.runtime_config.parameters

    @property
    def is_archived(self) -> bool:
        """Whether it was put away."""
        return self.storage_state == "ARCHIVED"


def read_run(told: object) -> KfpRun:
    """The run that the API tells of; raises ``ClusterError`` when it cannot be read."""
    try:
        return KfpRun.model_validate(told)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ClusterError(f"Kubeflow tells of a run in a way that cannot be read (at {where!r}).") from error
