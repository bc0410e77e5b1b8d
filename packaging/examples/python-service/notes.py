"""An example of a service that lets authd decide who may do what, in any language that speaks HTTP.

It asks by token introspection (RFC 7662) with the service's own token, and keeps the same rules as authd's client
library for Rust: what somebody may read is remembered for at most a minute, every write asks afresh, and whatever
goes wrong, nobody gets through: 401 (no token, or not a good one), 403 (not for this), 503 (authd cannot be asked),
504 (it does not answer in time).

    pip install -r requirements.txt
    SERVICE_TOKEN_FILE=notes.token uvicorn notes:app --port 3000

Set by the environment: AUTHD_URL, SERVICE_TOKEN_FILE (from `authctl service token create notes`), REMEMBER_SECONDS (at
most 60) and DEADLINE_SECONDS.
"""

import asyncio
import hashlib
import os
import time
from collections import Counter, OrderedDict, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

AUTHD_URL = os.environ.get("AUTHD_URL", "http://127.0.0.1:8080")
SERVICE_TOKEN = Path(os.environ["SERVICE_TOKEN_FILE"]).read_text().strip()
REMEMBER_SECONDS = min(float(os.environ.get("REMEMBER_SECONDS", "60")), 60)
DEADLINE_SECONDS = float(os.environ.get("DEADLINE_SECONDS", "2"))
LOGIN_DEADLINE_SECONDS = 10  # passwords are hashed slowly on purpose
MOST_ENTRIES = 10_000
MOST_TOKEN_BYTES = 4096


class Denied(Exception):
    """Why a request is not let through; the only other outcome is an identity."""

    def __init__(self, status: int, error: str, detail: str, challenge: str = "", retry_after: int | None = None):
        super().__init__(detail)
        self.status, self.error, self.detail = status, error, detail
        self.headers = {"Cache-Control": "no-store"}
        if challenge:
            self.headers["WWW-Authenticate"] = challenge
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


def unavailable(detail: str, retry_after: int | None = None) -> Denied:
    return Denied(503, "unavailable", detail, retry_after=retry_after)


@dataclass(frozen=True)
class Identity:
    user_id: str
    username: str
    permissions: frozenset[str]
    expires_at: float
    """Epoch seconds."""


class Authd:
    """A line to authd, with a memory."""

    def __init__(self) -> None:
        self.http = httpx.AsyncClient(base_url=AUTHD_URL, timeout=None)  # post() has the deadline
        # By the hash of the token, never the token; from the oldest to the newest: asked at, until, identity.
        self.memory: OrderedDict[bytes, tuple[float, float, Identity]] = OrderedDict()
        self.flights: dict[bytes, asyncio.Task[Identity]] = {}
        self.asking: Counter[bytes] = Counter()
        self.epoch = 0

    async def identify(self, token: str, is_read: bool) -> Identity:
        key = hashlib.sha256(token.encode()).digest()
        if not is_read:
            return await self.ask(key, token)
        _, until, identity = self.memory.get(key, (0, 0, None))
        if identity and time.monotonic() < until and time.time() < identity.expires_at:
            return identity
        # Reads of the same token that come together ask once, and do not stop when the first of them goes away.
        flight = self.flights.get(key)
        if flight is None:
            flight = self.flights[key] = asyncio.create_task(self.ask(key, token))
            flight.add_done_callback(lambda done: self.land(key, done))
        return await asyncio.shield(flight)

    def land(self, key: bytes, flight: asyncio.Task[Identity]) -> None:
        if self.flights.get(key) is flight:
            del self.flights[key]
        if not flight.cancelled():
            flight.exception()  # seen, even if nobody waits any more

    async def ask(self, key: bytes, token: str) -> Identity:
        asked_at, epoch = time.monotonic(), self.epoch
        self.asking[key] += 1
        try:
            headers = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
            status, answer = await self.post("/introspect", headers, data={"token": token})
        finally:
            self.asking[key] -= 1
            if not self.asking[key]:
                del self.asking[key]
        if status != 200:
            # It is this service's own token that is refused, not the caller's.
            raise unavailable("the authentication service does not accept this service's question")
        if answer.get("active") is not True:
            self.forget(key)
            raise await self.why_not(token, headers)
        try:
            if answer["token_type"] != "session":
                raise Denied(403, "forbidden", "an API token is not a person", 'Bearer error="insufficient_scope"')
            permissions = frozenset(answer.get("scope", "").split())
            identity = Identity(answer["sub"], answer["username"], permissions, float(answer["exp"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unavailable("the authentication service's answer is not whole") from error
        # A minute, but only half-way to the session's end: authd has to see that it is used. An answer that was under
        # way when the token was forgotten, or that is older than what is there, is not kept.
        until = asked_at + min(REMEMBER_SECONDS, (identity.expires_at - time.time()) / 2)
        if self.epoch == epoch and self.memory.get(key, (0,))[0] <= asked_at:
            self.memory[key] = (asked_at, until, identity)
            self.memory.move_to_end(key)
            while len(self.memory) > MOST_ENTRIES:
                self.memory.popitem(last=False)
        return identity

    async def why_not(self, token: str, headers: dict) -> Denied:
        """Tells who is signed in but has nothing in this service from who is not signed in."""
        _, checked = await self.post("/check-access", headers, json={"token": token})
        if checked.get("error") == "no_access":
            return Denied(403, "forbidden", "this person has no role here", 'Bearer error="insufficient_scope"')
        return Denied(401, "invalid_token", "the token is not known, or has ended", 'Bearer error="invalid_token"')

    async def post(self, path: str, headers: dict | None = None, deadline=DEADLINE_SECONDS, **body) -> tuple[int, dict]:
        try:
            async with asyncio.timeout(deadline):
                response = await self.http.post(path, headers=headers, **body)
        except TimeoutError as error:
            raise Denied(504, "upstream_timeout", "the authentication service did not answer in time") from error
        except httpx.HTTPError as error:
            raise unavailable("the authentication service cannot be reached", 1) from error
        if response.status_code >= 500:
            raise unavailable("the authentication service cannot answer now", 1)
        try:
            answer = response.json()
        except ValueError as error:
            raise unavailable("the authentication service's answer cannot be read") from error
        if not isinstance(answer, dict):
            raise unavailable("the authentication service's answer cannot be read")
        return response.status_code, answer

    async def login(self, username: str, password: str) -> dict:
        person = {"username": username, "password": password}
        status, answer = await self.post("/auth/login", deadline=LOGIN_DEADLINE_SECONDS, json=person)
        if status == 200:
            return answer
        detail, error = answer.get("detail", "the login is not accepted"), answer.get("error", "invalid_credentials")
        if status == 429:
            raise Denied(429, error, detail, retry_after=answer.get("retry_after"))
        raise Denied(401, error, detail, "Bearer")

    async def logout(self, token: str) -> None:
        key = hashlib.sha256(token.encode()).digest()
        self.forget(key)
        status, _ = await self.post("/auth/logout", {"Authorization": f"Bearer {token}"}, json={})
        self.forget(key)
        if status not in (200, 401):  # 401: it had ended before
            raise unavailable("the authentication service does not accept the logout")

    def forget(self, key: bytes) -> None:
        # Questions about other tokens lose their answer's place too; that costs one more question, and is simple.
        self.epoch += key in self.memory or key in self.asking
        self.memory.pop(key, None)
        self.flights.pop(key, None)


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.authd = Authd()
    yield
    await app.state.authd.http.aclose()


app = FastAPI(title="notes", lifespan=lifespan)
notes: deque[dict] = deque(maxlen=100)


@app.exception_handler(Denied)
async def denied(request: Request, error: Denied) -> JSONResponse:
    body = {
        "type": f"urn:authd:problem:{error.error}",
        "title": error.error,
        "status": error.status,
        "detail": error.detail,
        "error": error.error,
    }
    return JSONResponse(body, error.status, error.headers, media_type="application/problem+json")


def presented(request: Request) -> str:
    """The token of a request: one, in one header."""
    found = request.headers.getlist("token")
    authorizations = request.headers.getlist("authorization")
    for value in authorizations:
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            found.append(token.strip())
    if len(found) > 1 or len(authorizations) > 1:
        raise Denied(401, "invalid_token", "send one token", 'Bearer error="invalid_request"')
    if not found or not found[0]:
        raise Denied(401, "unauthenticated", "a token is needed", "Bearer")
    if len(found[0]) > MOST_TOKEN_BYTES or not (found[0].isascii() and found[0].isprintable()):
        raise Denied(401, "invalid_token", "the token is not known", 'Bearer error="invalid_token"')
    return found[0]


def require(permission: str):
    """A guard: the person must hold this permission, which is decided at every use."""

    async def guard(request: Request) -> Identity:
        token = presented(request)
        is_read = request.method in ("GET", "HEAD", "OPTIONS")
        identity = await request.app.state.authd.identify(token, is_read)
        if permission not in identity.permissions:
            challenge = f'Bearer error="insufficient_scope", scope="{permission}"'
            raise Denied(403, "forbidden", f"{identity.username} lacks: {permission}", challenge)
        return identity

    return Depends(guard)


class NewNote(BaseModel):
    text: str = Field(max_length=10_000)


class Login(BaseModel):
    username: str = Field(max_length=256)
    password: str = Field(max_length=1024)


@app.get("/notes", dependencies=[require("notes.read")])
async def list_notes() -> list[dict]:
    return list(notes)


@app.post("/notes", status_code=201)
async def add_note(new: NewNote, user: Identity = require("notes.write")) -> dict:
    note = {"author": user.username, "text": new.text}
    notes.append(note)
    return note


@app.post("/login")
async def login(request: Request, person: Login) -> dict:
    return await request.app.state.authd.login(person.username, person.password)


@app.post("/logout")
async def logout(request: Request) -> dict:
    await request.app.state.authd.logout(presented(request))
    return {"status": "logged_out"}
