"""Folders of data and checkpoints on this computer, from a YAML file and environment variables.

The file is the one that ``RCLICKS_CONFIG`` names. If this variable is not set, it is ``rclicks.yaml`` in the current
folder, or else ``config.yaml`` in the configuration folder of the user. Its keys are ``data_root`` (a folder),
``roots`` (data set -> folder) and ``checkpoints`` (a folder). The environment variables ``RCLICKS_DATA_ROOT``,
``RCLICKS_ROOT_<NAME>`` and ``RCLICKS_CHECKPOINTS`` override the file.
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
    """Folders of this computer.

    Attributes
    ----------
    data_root : Path or None
        Folder that contains the folders of the data sets.
    roots : dict of str to Path
        Data set -> its own folder.
    checkpoints : Path or None
        Folder in which checkpoints are searched.
    file : Path or None
        Configuration file that was read; None if there was none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_root: Path | None = None
    roots: dict[str, Path] = {}
    checkpoints: Path | None = None
    file: Path | None = None

    def root_candidates(self, name: str, folder: str, data_root: Path | None = None) -> list[Path]:
        """Return the folders that may contain data set `name`, in the order of the search.

        `folder` is its folder name in a data root. `data_root` is the data root of the caller and comes first.
        """
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
        """Return the data roots in the order of the search: `data_root`, the environment, the configuration file."""
        named = (data_root, os.environ.get("RCLICKS_DATA_ROOT"), self.data_root)
        return [Path(p).expanduser() for p in named if p]

    def checkpoint_folder(self) -> Path | None:
        """Return the folder in which checkpoints are searched; None if it is not set."""
        value = os.environ.get("RCLICKS_CHECKPOINTS")
        return Path(value).expanduser() if value else self.checkpoints


def config_files() -> list[Path]:
    """Return the paths at which a configuration file is looked for; the first existing file is read."""
    import platformdirs

    named = os.environ.get("RCLICKS_CONFIG")
    user = Path(platformdirs.user_config_dir("rclicks")) / "config.yaml"
    return [Path(named)] if named else [Path("rclicks.yaml"), user]


def load_config() -> Config:
    """Read the first configuration file that exists; return defaults if there is none.

    Raises
    ------
    ProtocolError
        If the file is not valid YAML or has unknown keys. The message names the file, the key and the allowed keys.
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
