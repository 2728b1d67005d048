"""A review of a draft: what a critic says, as data that editors and conditions can use."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MOST_POINTS = 20
POINT_CHARS = 2_000
BEST_SCORE = 10
PASS_SCORE = 7


def _whole(score: Any) -> Any:
    """Round what models give as 7.5."""
    return round(score) if isinstance(score, float) and 0 <= score <= BEST_SCORE else score


class Review(BaseModel):
    """Whether a draft can go out as it is, how good it is, and what has to be changed."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", json_schema_extra={"additionalProperties": False}
    )

    accepted: bool
    score: Annotated[int, BeforeValidator(_whole)] = Field(ge=0, le=BEST_SCORE)
    points: list[Annotated[str, Field(min_length=1, max_length=POINT_CHARS)]] = Field(
        max_length=MOST_POINTS
    )


def review_problems(value: Any, pass_score: int) -> list[str]:
    """List what is wrong with a review, for the model that wrote it."""
    try:
        review = Review.model_validate(value)
    except ValidationError as error:
        return shape_problems(error)
    if review.accepted and review.score < pass_score:
        return [f"accepted is true, and the score {review.score} is below {pass_score}"]
    if not review.accepted and not review.points:
        return ["accepted is false, and there are no points; say what has to be changed"]
    return []


def shape_problems(error: ValidationError) -> list[str]:
    """List what is wrong with the shape of an answer."""
    found = error.errors(include_url=False, include_context=False)
    return [f"{'.'.join(map(str, each['loc'])) or 'answer'}: {each['msg']}" for each in found[:20]]
