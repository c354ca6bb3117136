"""What is secret, in every form in which it could be told, and a search that finds a part of it as well.

Whatever has twelve characters of a secret at one of every eight places is told of: a text that shows nineteen
characters in a row, wherever they begin. What a certificate shows as well (the public point that is in a key) is none.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

_SIZE = 12
_STEP = 8


class Canary:
    """Collects secrets, and finds them in texts."""

    def __init__(self) -> None:
        self._windows: dict[bytes, str] = {}
        self._known: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._known)

    def add_text(self, value: str, name: str) -> None:
        """A token or a password: as it is, in JSON, in a form, and in base64."""
        data = value.encode(errors="surrogateescape")
        if data in self._known:
            return
        self._known.add(data)
        quoted = json.dumps(value)[1:-1].encode()
        for form in (data, quoted, quote(data, safe="").encode(), quote(data).encode(), *_encoded(data)):
            self._add(form, name)

    def add_key(self, pem: bytes, name: str) -> None:
        """A private key: the scalar of its PEM, its DER, its number, and each of these in base64 once more."""
        if pem in self._known:
            return
        self._known.add(pem)
        key = load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        number = key.private_numbers().private_value
        scalar = number.to_bytes((key.key_size + 7) // 8, "big")
        for form in (scalar, scalar.hex().encode(), scalar.hex().upper().encode(), str(number).encode()):
            self._add(form, name)
        for encoded in _encoded(scalar):
            self._add(encoded, name)
        for kind in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            text = key.private_bytes(Encoding.PEM, kind, NoEncryption())
            der = key.private_bytes(Encoding.DER, kind, NoEncryption())
            begin = der.index(scalar)
            first, last = -(-begin * 8 // 6), (begin + len(scalar)) * 8 // 6
            for part in _parts(text, first, last):
                self._add(part, name)
                for encoded in _encoded(part):
                    self._add(encoded, name)

    def add_file(self, data: bytes, public: bytes, name: str) -> None:
        """A file with a key in it (PKCS#12 without a password), but for what is `public` of it as well."""
        if data in self._known:
            return
        self._known.add(data)
        open_windows = {piece for form in (public, *_encoded(public)) for piece in _pieces(form)}
        for form in (data, *_encoded(data)):
            for piece in _pieces(form[64:]):  # what begins every file of this kind
                if piece not in open_windows:
                    self._windows.setdefault(piece, name)

    def found(self, text: bytes) -> set[str]:
        """The names of what it tells of."""
        windows = self._windows
        places = (windows.get(text[at : at + _SIZE]) for at in range(0, len(text) - _SIZE + 1, _STEP))
        return {name for name in places if name is not None}

    def _add(self, form: bytes, name: str) -> None:
        for piece in _pieces(form):
            self._windows.setdefault(piece, name)


def _pieces(form: bytes) -> Iterator[bytes]:
    for at in range(len(form) - _SIZE + 1):
        yield form[at : at + _SIZE]


def _encoded(data: bytes) -> Iterator[bytes]:
    """Base64 that holds the data at any of the three places in a group, without the characters that others share."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + data)
        inner = text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


def _parts(text: bytes, first: int, last: int) -> Iterator[bytes]:
    """The characters from `first` to `last` of a PEM file's base64, as its lines have them."""
    at = 0
    for line in text.splitlines()[1:-1]:
        yield line[max(0, first - at) : max(0, last - at)]
        at += len(line)
