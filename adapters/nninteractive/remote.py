"""A session of the package ``nninteractive`` on a server, with the verbs of a local one; see `.session`."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from rclicks.errors import PluginError, ProtocolError

from .session import INSTALL, LostSessionError, ServerError, Session, accepted

__all__ = ["RemoteSession"]


class RemoteSession(Session):
    """A session on a server.

    Parameters
    ----------
    server : str
        URL.
    variable : str
        Name of the environment variable that holds the key, if the server wants one.
    options : dict
        `autozoom`, `timeout`.

    Raises
    ------
    ServerError
        If no such server answers, or it is full.
    ProtocolError
        If it refuses the key.
    """

    def __init__(self, server: str, variable: str, options: Mapping[str, Any]) -> None:
        self._server, self._variable, self._options = server, variable, options
        self._release: Callable[[], object] = lambda: None
        super().__init__()

    def open(self) -> Any:
        """Claim a session on the server, after giving an old one back."""
        from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession

        self._release()
        seconds = float(self._options["timeout"])
        arguments = {
            "api_key": os.environ.get(self._variable),
            "read_timeout": seconds,
            "set_image_read_timeout": seconds,
            "write_timeout": seconds,
        }
        try:
            session = nnInteractiveRemoteInferenceSession(
                self._server, **accepted(nnInteractiveRemoteInferenceSession, arguments)
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(f"{self._server} is not an nninteractive-server: {error!r}") from error
        # The client's own thread keeps the client alive, and with it a place on the server, unless it is closed.
        self._release = weakref.finalize(self, session.close)
        session.set_do_autozoom(self._options["autozoom"])
        return session

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Translate the client's errors."""
        try:
            import httpx
            from nnInteractive.inference.remote import ServerAtCapacityError, SessionExpiredError
        except ImportError as error:
            raise PluginError(INSTALL) from error
        where = f"the nninteractive-server at {self._server}"
        try:
            with redirect_stdout(io.StringIO()):
                yield
        except SessionExpiredError as error:
            raise LostSessionError(f"{where} no longer knows this session: {error}") from error
        except ServerAtCapacityError as error:
            raise ServerError(f"{where} is full ({error}); close other sessions or raise its --max-sessions") from error
        except httpx.TimeoutException as error:
            limit = self._options["timeout"]
            raise ServerError(f"{where} did not answer within {limit} s; raise the option `timeout`") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ServerError(
                f"{where} does not answer: {error}. Start it with `nninteractive-server --model-dir FOLDER --fold 0` "
                "or correct the option `server`; if a proxy is set, put the host into NO_PROXY"
            ) from error
        except httpx.HTTPStatusError as error:
            code, text = error.response.status_code, error.response.text[:300]
            if code in (401, 403):
                raise ProtocolError(
                    f"{where} refuses the key; put the right one into the environment variable {self._variable} "
                    "(option `key_variable`)"
                ) from error
            raise ServerError(f"{where} answered with status {code}: {text}") from error
