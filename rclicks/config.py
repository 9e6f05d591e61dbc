"""Where data and checkpoints lie on this computer: a YAML file and environment variables.

The file is ``rclicks.yaml`` in the current folder, else ``config.yaml`` in the user's configuration folder, else the
file that ``RCLICKS_CONFIG`` names (which wins). Its keys are ``data_root``, ``roots`` (data set -> folder) and
``checkpoints`` (a folder). ``RCLICKS_DATA_ROOT``, ``RCLICKS_ROOT_<NAME>`` and ``RCLICKS_CHECKPOINTS`` override it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rclicks.errors import ProtocolError

__all__ = ["Config", "load_config"]


class Config(BaseModel):
    """Folders of this computer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_root: Path | None = None
    roots: dict[str, Path] = {}
    checkpoints: Path | None = None
    file: Path | None = None

    def root_candidates(self, name: str, folder: str, data_root: Path | None = None) -> list[Path]:
        """Return the folders where data set `name` may lie, the most specific first."""
        found: list[Path] = []
        if data_root is not None:
            found.append(data_root / folder)
        if value := os.environ.get("RCLICKS_ROOT_" + re.sub(r"\W", "_", name).upper()):
            found.append(Path(value))
        if name in self.roots:
            found.append(self.roots[name])
        if value := os.environ.get("RCLICKS_DATA_ROOT"):
            found.append(Path(value) / folder)
        if self.data_root is not None:
            found.append(self.data_root / folder)
        return [p.expanduser() for p in found]

    def data_roots(self, data_root: Path | None = None) -> list[Path]:
        """Return the folders that hold data sets' folders and files of clicks, the most specific first."""
        named = (data_root, os.environ.get("RCLICKS_DATA_ROOT"), self.data_root)
        return [Path(p).expanduser() for p in named if p]

    def checkpoint_folder(self) -> Path | None:
        """Return the folder that checkpoints are searched in, if one is set."""
        value = os.environ.get("RCLICKS_CHECKPOINTS")
        return Path(value).expanduser() if value else self.checkpoints


def config_files() -> list[Path]:
    """Return the places a configuration is looked for, the strongest first."""
    import platformdirs

    named = os.environ.get("RCLICKS_CONFIG")
    user = Path(platformdirs.user_config_dir("rclicks")) / "config.yaml"
    return [Path(named)] if named else [Path("rclicks.yaml"), user]


def load_config() -> Config:
    """Read the first configuration file that exists; defaults if there is none.

    Raises
    ------
    ProtocolError
        If the file is not YAML or has unknown keys; names file, key and allowed keys.
    """
    for path in config_files():
        if not path.is_file():
            if os.environ.get("RCLICKS_CONFIG"):
                raise ProtocolError(f"RCLICKS_CONFIG names {path}, which does not exist")
            continue
        try:
            raw = yaml.safe_load(path.read_text()) or {}
            return Config(**raw, file=path)
        except (yaml.YAMLError, TypeError) as error:
            raise ProtocolError(f"{path} is not a YAML mapping: {error}") from error
        except ValidationError as error:
            where = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ProtocolError(f"{path}: {where}. Allowed keys: data_root, roots, checkpoints") from error
    return Config()
