"""Options of an environment as a checked record: a field is an option, its description is what people read."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from data.errors import BadConfig
from envs.base import Options


class CheckedOptions(BaseModel):
    """Each field is an option of that name. Subclasses name their environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    environment: ClassVar[str]

    @classmethod
    def of(cls, options: Options) -> Self:
        """Check the options; raises BadConfig naming the wrong one."""
        values: dict[str, Any] = dict(options)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            said = str(first["msg"]).removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                wrong = f" has no option {name!r}"
            elif name:
                wrong = f"'s option {name} is {values.get(name)!r}: {said}"
            else:
                wrong = f"'s options do not fit together: {said}"
            raise BadConfig(f"{cls.environment}{wrong}. Its options: {', '.join(cls.model_fields)}.") from error

    @classmethod
    def described(cls) -> dict[str, str]:
        """Option -> what it does, for `--help` and hints."""
        return {name: str(field.description) for name, field in cls.model_fields.items()}
