"""A provider: its key, and tokens signed with it."""

import base64
import hashlib
import json
import random
import time

ISSUER = "https://issuer.bench.test"
AUDIENCE = "observability"
# Groups in the token, unless a row has others. The one that grants is the last but one.
GROUPS = 8


def group(index: int) -> str:
    """The one that grants the tenant of that number."""
    return f"group-{index:05}"


def staff(index: int) -> str:
    """One that grants nothing, except where a row says so."""
    return f"s-{index:03}"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


class Provider:
    """RS256 with a 2048-bit key. The key is worth nothing: it is made from a fixed seed."""

    EXPONENT = 65537
    # DigestInfo of SHA-256 (RFC 8017 §9.2)
    PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")

    def __init__(self) -> None:
        source = random.Random("scopegate bench")
        self.p, self.q = self._prime(source), self._prime(source)
        self.n = self.p * self.q
        d = pow(self.EXPONENT, -1, (self.p - 1) * (self.q - 1))
        self.dp, self.dq = d % (self.p - 1), d % (self.q - 1)
        self.q_inverse = pow(self.q, -1, self.p)

    def _prime(self, source: random.Random) -> int:
        while True:
            candidate = source.getrandbits(1024) | (3 << 1022) | 1
            if candidate % self.EXPONENT == 1 or any(candidate % small == 0 for small in (3, 5, 7, 11, 13, 17, 19)):
                continue
            if all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7)):
                return candidate

    def sign(self, text: bytes) -> bytes:
        info = self.PREFIX + hashlib.sha256(text).digest()
        message = int.from_bytes(b"\x00\x01" + b"\xff" * (253 - len(info)) + b"\x00" + info, "big")
        # by the Chinese remainder theorem, four times faster than one pow()
        first, second = pow(message, self.dp, self.p), pow(message, self.dq, self.q)
        return (second + self.q * (self.q_inverse * (first - second) % self.p)).to_bytes(256, "big")

    def jwks(self) -> dict:
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "bench"}
        return {"keys": [key | {"n": b64(number(self.n)), "e": b64(number(self.EXPONENT))}]}

    def token(self, granting: str, serial: int, count: int = GROUPS, size: int = 0) -> str:
        """One in `count` groups. If a size is given and the token is shorter, a claim that nobody reads makes it that
        many bytes long, or one or two less."""
        now = int(time.time())
        groups = [staff(i) for i in range(count)]
        groups[-2] = granting
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"user-{serial:06}",
            "iat": now,
            "exp": now + 6 * 3600,
            "azp": "grafana",
            "groups": groups,
        }
        header = b64(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "bench"}).encode())
        if size:
            # Of a token all but the header, the signature and two dots is claims, four characters for three bytes.
            room = (size - len(header) - len(b64(bytes(256))) - 2) * 3 // 4
            missing = room - len(json.dumps(claims | {"padding": ""}))
            claims["padding"] = random.Random(serial).randbytes(max(0, missing)).hex()[: max(0, missing)]
        signed = f"{header}.{b64(json.dumps(claims).encode())}"
        return f"{signed}.{b64(self.sign(signed.encode()))}"
