"""What an operator writes: process settings (environment) and the configuration file (YAML).

Reads, checks and composes; the meaning of a field belongs to the package whose spec it is.
"""

from app.config.load import LoadedConfig, load_config
from app.config.load_settings import load_settings, unknown_settings
from app.config.problems import NothingToServe
from app.config.schema import Config
from app.config.settings import Settings
from app.config.shipped import DefaultConfig, default_config_path

__all__ = [
    "Config",
    "DefaultConfig",
    "LoadedConfig",
    "NothingToServe",
    "Settings",
    "default_config_path",
    "load_config",
    "load_settings",
    "unknown_settings",
]
