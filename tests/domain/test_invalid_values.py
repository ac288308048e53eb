"""What pydantic refuses is told in plain words, without its own and without Python's."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from parcours.domain.invalid_values import why_invalid


def refused(type_: Any, value: object, *, show: bool = True) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(type_).validate_python(value)
    (error,) = caught.value.errors()
    return why_invalid(error, value, show=show)


@pytest.mark.parametrize(
    ("type_", "value", "why"),
    [
        (Annotated[int, Field(ge=1)], "0", "must be greater than or equal to 1, not '0'"),
        (Annotated[int, Field(lt=5)], 5, "must be less than 5, not 5"),
        (int, "x", "must be a whole number, not 'x'"),
        (int, "1.5", "must be a whole number, not '1.5'"),
        (int, "9" * 5000, "must be a whole number, not text"),
        (float, [], "must be a number, not a list"),
        (bool, "perhaps", "must be true or false, not 'perhaps'"),
        (str, None, "must be text, not nothing"),
        (Literal["a", "b"], "c", "must be 'a' or 'b', not 'c'"),
        (Annotated[str, Field(max_length=2)], "abc", "must have at most 2 characters"),
        (Annotated[str, Field(min_length=1)], "", "must not be empty"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "must have at most 1 items"),
        (datetime, "soon", "must be a date and time such as '2026-12-24T09:00:00Z', not 'soon'"),
        (date, {}, "must be a date such as '2026-12-24', not a mapping"),
    ],
)
def test_a_refused_value_is_told_in_plain_words(type_: Any, value: object, why: str) -> None:
    assert refused(type_, value) == why


def test_a_value_that_may_be_a_secret_is_not_repeated() -> None:
    assert refused(int, "s3cret", show=False) == "must be a whole number"
