import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.fuzz import saved
from tests.fuzz.config_properties import SECRETS, check
from tests.fuzz.mutations import damaged

LOADED = {"short", "long", "variables", "include_pattern_too_long", "two_byte_order_marks"}
REFERENCES = [f'"${{{name}}}"'.encode() for name in (*SECRETS, "UNSET")]


@pytest.mark.parametrize("file", saved.corpus("config"), ids=saved.name)
def test_a_saved_configuration_loads_or_is_refused_with_its_place(file, tmp_path):
    refusal = check(file.read_bytes(), tmp_path)
    assert (refusal is None) == (file.stem in LOADED), refusal


@given(damaged("config", *REFERENCES))
@settings(max_examples=200, deadline=None)
def test_a_damaged_configuration_loads_or_is_refused_without_showing_a_secret(data):
    with tempfile.TemporaryDirectory() as folder:
        check(data, Path(folder))
