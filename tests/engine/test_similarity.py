from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.similarity import (
    cosine,
    grams,
    overlap,
    similarity_of_texts,
    similarity_of_vectors,
)

TEXTS = st.text(max_size=60)
VECTORS = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3)


@given(TEXTS, TEXTS)
def test_overlap_is_symmetric_and_from_0_to_1(one: str, other: str) -> None:
    assert 0 <= overlap(one, other) <= 1
    assert overlap(one, other) == overlap(other, one)


@given(TEXTS)
def test_a_text_is_like_itself(text: str) -> None:
    assert overlap(text, text) == 1


def test_case_white_space_marks_and_width_make_no_difference() -> None:
    assert overlap("The answer: **42**.", "the\n  answer 42") == 1
    assert overlap("\uff21\uff22\uff23", "abc") == 1


def test_the_share_is_that_of_words_and_pairs_of_words() -> None:
    # a, b, c, ab, bc against a, b, d, ab, bd: three of seven
    assert overlap("a b c", "a b d") == pytest.approx(3 / 7)


def test_the_order_of_words_counts() -> None:
    assert 0 < overlap("dog bites man", "man bites dog") < 1


@pytest.mark.parametrize(("one", "other"), [("x = 5", "x = -5"), ("a < b", "a > b"), ("1", "2")])
def test_what_changes_a_result_is_not_the_same(one: str, other: str) -> None:
    assert overlap(one, other) < 1


def test_a_fragment_is_not_the_same_as_the_whole() -> None:
    whole = "Paris is the capital of France and has two million inhabitants"
    assert overlap("Paris", whole) < 0.1


def test_repeating_words_gains_nothing() -> None:
    assert overlap("good " * 50, "good good") == 1
    assert overlap("good " * 50 + "bad", "good day") == overlap("good good bad", "good day")


@pytest.mark.parametrize(
    ("one", "near", "far"),
    [
        ("東京は日本の首都です", "日本の首都は東京です", "猫が庭で寝ている"),
        ("กรุงเทพเป็นเมืองหลวง", "เมืองหลวงคือกรุงเทพ", "ฝนตกหนักมากวันนี้"),
    ],
)
def test_languages_without_spaces_are_compared_by_characters(one: str, near: str, far: str) -> None:
    assert len(grams(one)) > 10
    assert overlap(one, near) > 0.3 > overlap(one, far)


def test_texts_without_words_are_alike_only_if_they_are_the_same() -> None:
    assert overlap("???", "???") == 1
    assert overlap("???", "!!!") == 0
    assert overlap("", "") == 1
    assert overlap("", "word") == 0


def test_the_cosine_is_that_of_the_angle() -> None:
    assert cosine([1, 0], [1, 0]) == 1
    assert cosine([1, 0], [1, 1]) == pytest.approx(math.sqrt(0.5))
    assert cosine([3, 4], [6, 8]) == pytest.approx(1)


def test_opposite_and_zero_vectors_are_not_alike() -> None:
    assert cosine([1, 0], [-1, 0]) == 0
    assert cosine([0, 0], [1, 1]) == 0


@given(st.lists(VECTORS, max_size=5))
def test_a_similarity_is_symmetric_and_1_with_itself(vectors: list[list[float]]) -> None:
    matrix = similarity_of_vectors(vectors).matrix
    for i, row in enumerate(matrix):
        assert row[i] == 1
        assert all(row[j] == matrix[j][i] and 0 <= row[j] <= 1 for j in range(len(matrix)))


def test_a_similarity_knows_its_mean_its_least_pair_and_its_groups() -> None:
    similarity = similarity_of_texts(["a b", "a b", "c"])
    assert similarity.size == 3
    assert similarity.mean() == pytest.approx(1 / 3)
    assert similarity.least() == 0
    assert similarity.within([0, 1]) == 1
    assert similarity.between([0, 1], [2]) == 0


def test_without_a_pair_nothing_is_alike() -> None:
    assert similarity_of_texts(["alone"]).mean() == 0
    assert similarity_of_texts([]).least() == 0
