import pytest
from pydantic import ValidationError

from app.config import Settings, load_settings, unknown_settings
from app.errors import ConfigError

SECRET = "moa-planted-secret"


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        load_settings(environ)
    return str(refusal.value)


def test_without_variables_the_defaults_listen_on_loopback_without_keys():
    settings = load_settings({})
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.api_keys == ()
    assert settings.insecure is False
    assert settings.max_body_bytes == 32 * 1024 * 1024


def test_only_the_given_variables_are_read(monkeypatch):
    monkeypatch.setenv("MOA_PORT", "9999")
    assert load_settings({}).port == 8000
    assert Settings().port == 9999


def test_flags_win_over_variables():
    assert load_settings({"MOA_PORT": "9000", "MOA_HOST": "::1"}, port=9001).port == 9001


def test_keys_are_a_plain_comma_list_and_stay_secret():
    settings = load_settings({"MOA_API_KEYS": f"{SECRET}, other"})
    assert [key.get_secret_value() for key in settings.api_keys] == [SECRET, "other"]
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2.0), ("0.5", 0.5), ("500ms", 0.5), ("2m", 120.0)]
)
def test_times_are_numbers_or_durations(text, seconds):
    assert load_settings({"MOA_HEARTBEAT": text}).heartbeat == seconds


@pytest.mark.parametrize("text", ["9" * 400 + "h", "8e5", "1e999", "nan", "169h"])
def test_a_time_is_seven_days_at_most(text):
    with pytest.raises(ConfigError, match="MOA_HEARTBEAT"):
        load_settings({"MOA_HEARTBEAT": text})


def test_a_size_may_have_a_unit():
    assert load_settings({"MOA_MAX_BODY_BYTES": "2MiB"}).max_body_bytes == 2 * 1024 * 1024


def test_an_empty_variable_counts_as_unset():
    assert load_settings({"MOA_PORT": "", "MOA_CONFIG": ""}) == load_settings({})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("MOA_PORT", "http", 'MOA_PORT: found "http", expected an integer from 0 to 65535'),
        ("MOA_PORT", "70000", 'MOA_PORT: found "70000", expected an integer from 0 to 65535'),
        (
            "MOA_LOG_FORMAT",
            "xml",
            'MOA_LOG_FORMAT: found "xml", expected one of "auto", "json", "text"',
        ),
        ("MOA_INSECURE", "perhaps", 'MOA_INSECURE: found "perhaps", expected true or false'),
        ("MOA_WORKERS", "0", 'MOA_WORKERS: found "0", expected an integer from 1 to 256'),
        (
            "MOA_HEARTBEAT",
            "often",
            (
                'MOA_HEARTBEAT: found "often", expected seconds above 0 '
                "or a duration such as 500ms, 5s, 2m or 1h"
            ),
        ),
        (
            "MOA_COMMIT_AFTER",
            "inf",
            (
                'MOA_COMMIT_AFTER: found "inf", expected seconds above 0 '
                "or a duration such as 500ms, 5s, 2m or 1h"
            ),
        ),
        (
            "MOA_MAX_BODY_BYTES",
            "1XB",
            (
                'MOA_MAX_BODY_BYTES: found "1XB", expected a number of bytes '
                "or a size such as 32MiB, at least 1KiB"
            ),
        ),
    ],
)
def test_a_wrong_value_is_refused_with_variable_value_and_what_is_accepted(name, text, message):
    assert refused(**{name: text}) == message


@pytest.mark.parametrize("text", ["", " ", f"{SECRET},", f",{SECRET}", f"{SECRET},,b"])
def test_an_empty_key_is_refused_and_no_key_is_shown(text):
    message = refused(MOA_API_KEYS=text)
    assert message.startswith("MOA_API_KEYS: found an empty entry, expected")
    assert SECRET not in message


def test_a_key_given_twice_is_refused_without_showing_it():
    message = refused(MOA_API_KEYS=f"{SECRET},{SECRET}")
    assert "twice" in message
    assert SECRET not in message


def test_a_short_hash_key_is_refused_without_showing_it():
    message = refused(MOA_USER_HASH_KEY="tooshort")
    assert "16 characters" in message
    assert "tooshort" not in message


def test_all_wrong_values_are_reported_at_once():
    message = refused(MOA_PORT="x", MOA_WORKERS="y", MOA_LOG_LEVEL="z")
    assert {line.split(":")[0] for line in message.splitlines()} == {
        "MOA_PORT",
        "MOA_WORKERS",
        "MOA_LOG_LEVEL",
    }


def test_a_wrong_flag_is_named_as_a_flag():
    with pytest.raises(ConfigError, match=r"^--port: found -1, expected an integer"):
        load_settings({}, port=-1)


def test_an_unknown_variable_is_reported_with_the_one_that_was_meant():
    environ = {"MOA_PROT": "1", "MOA_PORT": "1", "MOAT": "1", "MOA_": "1"}
    warnings = unknown_settings(environ)
    assert "MOA_PROT is no setting and has no effect; did you mean MOA_PORT?" in warnings
    assert len(warnings) == 2


def test_settings_never_change():
    with pytest.raises(ValidationError):
        load_settings({}).port = 1


def test_every_setting_has_a_description():
    assert all(field.description for field in Settings.model_fields.values())


def test_two_addresses_have_no_prefix_and_are_secret():
    settings = load_settings({"DATABASE_URL": f"sqlite:///{SECRET}", "REDIS_URL": "redis://r"})
    assert settings.database_url.get_secret_value() == f"sqlite:///{SECRET}"
    assert settings.redis_url.get_secret_value() == "redis://r"
    assert SECRET not in repr(settings)
    assert "did you mean DATABASE_URL?" in unknown_settings({"MOA_DATABASE_URL": "x"})[0]


def test_a_dead_store_and_unknown_prices_have_declared_modes():
    settings = load_settings({})
    assert (settings.on_store_failure, settings.unknown_price) == ("closed", "allow")
    assert settings.require_keys is False
    assert "MOA_ON_STORE_FAILURE" in refused(MOA_ON_STORE_FAILURE="ajar")
    assert "short" not in refused(MOA_KEY_PEPPER="short")
