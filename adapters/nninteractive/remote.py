"""A session of the package ``nninteractive`` on a server, with the methods of a local session, see `.session`."""

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
        URL of the server.
    variable : str
        Name of the environment variable that contains the key, if the server needs one.
    options : dict
        Values of the options `autozoom` and `timeout` (seconds).

    Raises
    ------
    ServerError
        If the server does not answer, is of another kind, or has no free session.
    ProtocolError
        If the server refuses the key.
    """

    def __init__(self, server: str, variable: str, options: Mapping[str, Any]) -> None:
        self._server, self._variable, self._options = server, variable, options
        self._release: Callable[[], object] = lambda: None
        super().__init__()

    def open(self) -> Any:
        """Open a session on the server after closing the old one."""
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
        # A thread of the client keeps it alive. Without closing, it would occupy a session of the server.
        self._release = weakref.finalize(self, session.close)
        session.set_do_autozoom(self._options["autozoom"])
        return session

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Translate the errors of the client into those of rclicks."""
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
