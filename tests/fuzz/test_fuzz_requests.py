import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import saved
from tests.fuzz.mutations import damaged
from tests.fuzz.request_properties import PARSERS, check

SAVED = pytest.mark.parametrize("file", saved.corpus("requests"), ids=saved.name)
ACCEPTED = {
    *("chat.plain", "chat.tools", "chat.parts", "chat.wishes", "chat.duplicate_keys", "chat.nul"),
    *("chat.brackets_in_a_text", "chat.depth_at_the_limit", "responses.text", "responses.format"),
    *("messages.plain", "messages.tools", "messages.documents", "count.plain", "text.plain"),
    *("responses.items", "text.echo", "embeddings.texts", "embeddings.tokens"),
}


@SAVED
def test_a_saved_body_is_accepted_or_refused_by_its_own_parser(file):
    refusal = check(file.name.partition(".")[0], file.read_bytes())
    assert (refusal is None) == (file.stem in ACCEPTED), refusal


@SAVED
@pytest.mark.parametrize("kind", PARSERS)
def test_a_saved_body_does_no_harm_to_any_parser(file, kind):
    check(kind, file.read_bytes())


@given(damaged("requests"), st.sampled_from(list(PARSERS)))
@settings(max_examples=1000, deadline=None)
def test_a_damaged_body_is_accepted_for_good_or_refused_with_its_field(body, kind):
    check(kind, body)
