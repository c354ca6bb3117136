"""What goes wrong below HTTP, in words for people."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from typing import Final

from ci_acme.errors import CaUnreachable

_CHECK_URL: Final = "check the directory URL: host, port and https"


class StaleConnection(CaUnreachable):
    """A kept connection was closed by the peer before any byte of an answer: worth one more try on a new one."""


class TlsFailure(CaUnreachable):
    """The server's certificate is not trusted or TLS cannot be spoken: trying again does not help."""


def explain(error: Exception, where: str, proxy: str | None, bundle: Path | None) -> CaUnreachable:
    """The error of a user for an error of a socket; `where` is host and port."""
    via = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, where, bundle)
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = (error.reason or "TLS failure").replace("_", " ").lower()
        return TlsFailure(f"TLS with {where}{via} failed: {reason}", fix=_CHECK_URL)
    message, fix = _in_words(error, proxy or where)
    whole = proxy is None and where in message
    return CaUnreachable(message if whole else f"{where}{via}: {message}", fix=fix)


def _in_words(error: Exception, peer: str) -> tuple[str, str]:
    """What happened, and what to do about it."""
    if isinstance(error, socket.gaierror):
        return f"the name {peer} cannot be resolved ({error.strerror})", "check the URL and this machine's DNS"
    if isinstance(error, TimeoutError):
        return "no answer in time", "check the network to the CA; run again later"
    if isinstance(error, ConnectionRefusedError):
        return f"{peer} refused the connection", "check the directory URL and the firewall"
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
        return "it does not speak HTTP", _CHECK_URL
    if isinstance(error, ConnectionError | ssl.SSLError | http.client.HTTPException):
        return "the connection was closed before a whole answer came", "run again later"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"no connection ({reason})", "check the network and the proxy settings"


def _untrusted(error: ssl.SSLCertVerificationError, where: str, bundle: Path | None) -> TlsFailure:
    reason = error.verify_message or "verification failed"
    if "expired" in reason or "not yet valid" in reason:
        fix = "check this machine's clock; else the CA's operator must renew the certificate of its web server"
    elif "mismatch" in reason or "match" in reason:
        fix = "use the host name that the certificate of the CA's web server is for"
    elif bundle is None:
        fix = "set ca_bundle of the authority to the PEM file with the root certificate of the CA's web server"
    else:
        fix = f"put the root certificate of the CA's web server into ca_bundle ({bundle})"
    return TlsFailure(f"the TLS certificate of {where} is not trusted: {reason}", fix=fix)
