"""Ed25519 keys: raw bytes go in, the name of a key comes out, or the reason why it must not be enrolled."""

from functools import lru_cache
from hashlib import sha256

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_KEY_BYTES = 32
KEY_ID_BYTES = 16
_KEYS_KEPT = 1_024
"""An agent's key is asked for with each of its intents, and whether it is a point takes as long as a signature."""

_FIELD_PRIME = 2**255 - 19
_LOW_ORDER_Y = frozenset(
    (
        0,
        1,
        _FIELD_PRIME - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    )
)
"""The y coordinates of the eight points of order 1, 2, 4 and 8 (two signs of x each for the last three)."""


class KeyInvalid(ValueError):
    """A key that must not be enrolled or used."""


def raw_public_key(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    """The 32 bytes of a public key (RFC 8032)."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def key_id(public_key: bytes) -> str:
    """The name of a key everywhere: the first 16 bytes of SHA-256 of its 32 raw bytes, in hex."""
    return sha256(public_key).hexdigest()[: 2 * KEY_ID_BYTES]


@lru_cache(_KEYS_KEPT)
def check_public_key(public_key: bytes) -> Ed25519PublicKey:
    """The key behind 32 raw bytes; `KeyInvalid` for another length, a y not below 2²⁵⁵−19, no point, or low order.

    With a low-order key a signature can be made that holds for any message, and `cryptography` accepts such keys.
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise KeyInvalid(f"an Ed25519 public key has 32 bytes, this one has {len(public_key)}")
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME:
        raise KeyInvalid("the key is not in canonical form")
    if y in _LOW_ORDER_Y:
        raise KeyInvalid("the key is a point of low order: anybody could sign for it")
    if not _is_on_curve(y):
        raise KeyInvalid("the key is not a point of the curve")
    return Ed25519PublicKey.from_public_bytes(public_key)


def _is_on_curve(y: int) -> bool:
    """Whether −x² + y² = 1 + d·x²·y² has a solution x for this y (RFC 8032 §5.1.3), by Euler's criterion."""
    p = _FIELD_PRIME
    d = -121665 * pow(121666, -1, p) % p
    x_squared = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    return x_squared == 0 or pow(x_squared, (p - 1) // 2, p) == 1
