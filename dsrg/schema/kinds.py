"""What the values of settings may be, and the base of every section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema


@dataclass(frozen=True)
class OneOf:
    """Annotation of a text that must be a name in a table; what other programs add to the table counts too. Where the
    type admits None, so does this."""

    table: Mapping[str, Any]
    besides: tuple[str, ...] = ()
    """Names that the table has not."""
    fits: Callable[[Any], bool] = lambda line: True
    """Which lines of the table count."""
    beginnings: tuple[str, ...] = ()
    """Beginnings after which any name fits."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that fit."""
        return (*self.besides, *(name for name, line in self.table.items() if self.fits(line)))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str | None) -> str | None:
        if name is not None and name not in self.names and not name.startswith(self.beginnings):
            *most, last = map(repr, (*self.names, *(f"{beginning}<name>" for beginning in self.beginnings)))
            expected = f"{', '.join(most)} or {last}" if most else last
            raise PydanticCustomError("one_of", "Input should be {expected}", {"expected": expected})
        return name


# Upper bounds are far above what anybody means: they stop a slip of the hand before it asks for all of the memory.
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NonNegative = Annotated[float, Field(ge=0, le=1e6)]
PositiveInt = Annotated[int, Field(gt=0, le=10**9)]
NonNegativeInt = Annotated[int, Field(ge=0, le=10**9)]
Channels = Annotated[int, Field(gt=0, le=8192)]
ChannelsOrNone = Annotated[int, Field(ge=0, le=8192)]
Side = Annotated[int, Field(gt=0, le=16_384)]
Scale = Annotated[float, Field(ge=0.01, le=10)]
Scales = Annotated[tuple[Scale, ...], Field(min_length=1, max_length=16)]
Merge = Literal["probabilities", "logits"]
Grid = Literal[4, 8, 16, 32] | None
Rates = Annotated[tuple[Annotated[int, Field(gt=0, le=256)], ...], Field(min_length=1, max_length=16)]


class Section(BaseModel):
    """Base of every section: unknown keys are refused, field docstrings become descriptions."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), frozen=True)
