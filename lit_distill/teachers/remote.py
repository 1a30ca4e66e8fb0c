"""What all teachers elsewhere have in common: asking again, checking, keeping answers, counting.

An answer that cannot be right is named and asked for again; a server that cannot be reached is waited for.
Both have their limits, after which the episode is given up as an infrastructure error, to be done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import numpy as np

from lit_distill.errors import InfrastructureError, LitDistillError, TeacherUnavailable
from lit_distill.schema import Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.environment import ORIGINAL
from lit_distill.teachers.answer_cache import AUTO, AnswerCache
from lit_distill.teachers.cost import QueryCost
from lit_distill.teachers.replies import BadAnswer, Reply, read_reply

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 15.0
"""Between two attempts to reach a server; it doubles from one to the other."""


class Unreachable(Exception):
    """A server did not answer; asking again may help. The text is one line."""


class Connection(Protocol):
    """The way to a teacher elsewhere; raises Unreachable, BadAnswer, or LitDistillError for bad input.

    Attributes:
        name: what messages call it.
    """

    name: str

    def metadata(self) -> dict[str, Any]:
        """What the server says of itself; after an answer: the one that answered."""
        ...

    def ask(self, request: dict[str, Any]) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Delivery:
    """How answers come, which must not change what they are.

    Attributes:
        timeout_s: how long one answer may take, the server's queue included.
        outage_s: how long a server that does not answer is waited for.
        attempts: how often a question is asked whose answer cannot be right.
        cache: SQLite file of answers; `auto`: the usual one; None: none.
    """

    timeout_s: float = 60.0
    outage_s: float = 600.0
    attempts: int = 3
    cache: str | None = AUTO

    def __post_init__(self) -> None:
        if not self.timeout_s > 0.0 or not self.outage_s >= 0.0 or self.attempts < 1:
            raise LitDistillError(
                f"timeout_s, attempts: must be positive, outage_s: must not be negative, got {self}"
            )


@dataclass(frozen=True)
class Known:
    """Who a server says it is.

    Attributes:
        identity: id and version.
        depends_on: what its answers depend on beside that and the question.
    """

    identity: str
    depends_on: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.identity} {json.dumps(self.depends_on, sort_keys=True)}"


class RemoteTeacher:
    """A teacher elsewhere.

    A subclass says what is sent (`request`) and how an answer is read (`read`); its settings that change
    answers are part of every request.

    Args:
        connection: the way to it.
        delivery: how patient to be, and where answers are kept.

    Attributes:
        DELIVERY: arguments of the constructors that only say where and how it is reached: not part of what
            data depend on.
        counts: what was asked so far.
    """

    DELIVERY: ClassVar[frozenset[str]] = frozenset(
        {"server", "timeout_s", "outage_s", "attempts", "cache", "token_env"}
    )
    looks_at_images: bool = True
    image_size: int | None = None
    meshes: str | None = ORIGINAL
    zero_is_lost: bool = False

    def __init__(self, connection: Connection, delivery: Delivery) -> None:
        self.connection, self._delivery = connection, delivery
        self._cache = None if delivery.cache is None else AnswerCache(delivery.cache)
        self._known: Known | None = None
        self.counts = QueryCost()

    @property
    def identity(self) -> str:
        """Who answers; asked for once."""
        return self._met().identity

    @property
    def depends_on(self) -> dict[str, Any]:
        """What the server says that its answers depend on, beside who answers and what is sent."""
        return self._met().depends_on

    def describe(self, metadata: dict[str, Any]) -> str:
        """Id and version of the teacher that a server says it has."""
        raise NotImplementedError

    def settings(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """What else a server says that its answers depend on (primitives, nested)."""
        return {}

    def request(self, observation: Observation, simulator: ChunkSimulator) -> dict[str, Any]:
        """What is sent: text, numbers, arrays, maps of them."""
        raise NotImplementedError

    def read(self, answer: dict[str, Any]) -> Reply:
        """Check an answer; raises BadAnswer."""
        return read_reply(answer)

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """See `Teacher.query`.

        Raises:
            InfrastructureError: no answer, or none that can be right.
        """
        reply = self.ask(self.request(observation, simulator))
        return TeacherChunk(self.clipped(reply.actions), reply.value, reply.steps_to_success)

    def ask(self, request: dict[str, Any]) -> Reply:
        """The checked answer to a request, from the cache if it is there."""
        key = self._key(request) if self._cache is not None else b""
        known = self._cache.get(key) if self._cache is not None else None
        if known is not None:
            self.counts += QueryCost(queries=1, cached=1)
            return known
        reply = self._ask_until_right(request)
        self.counts += QueryCost(queries=1)
        if self._cache is not None:
            self._cache.put(key, reply)
        return reply

    def clipped(self, actions: np.ndarray) -> np.ndarray:
        """Actions in [-1, 1]; what was outside is counted."""
        self.counts += QueryCost(clipped=int(np.sum(np.abs(actions) > 1.0)))
        return np.clip(actions, -1.0, 1.0)

    def longest_wait(self, queries: int) -> float:
        """Seconds that so many queries may take until the teacher gives up, with all attempts at each."""
        return self._delivery.outage_s + queries * self._delivery.attempts * self._delivery.timeout_s

    def _key(self, request: dict[str, Any]) -> bytes:
        """sha256 of everything that is sent and of who is asked."""
        from lit_distill.serving.wire import pack

        settings = json.dumps(self.depends_on, sort_keys=True)
        asked = {"teacher": self.identity, "depends_on": settings, "request": request}
        return hashlib.sha256(pack(asked)).digest()

    def _met(self) -> Known:
        """Who answers, with which settings; asked for once."""
        if self._known is None:
            try:
                self._known = self._patiently(self._who)
            except BadAnswer as error:
                raise LitDistillError(
                    f"server: {self.connection.name} is not of the kind that this teacher asks: {error}"
                ) from None
        return self._known

    def _who(self) -> Known:
        metadata = self.connection.metadata()
        return Known(self.describe(metadata), self.settings(metadata))

    def _answer(self, request: dict[str, Any]) -> Reply:
        """An answer of the server that was there from the first.

        Raises:
            LitDistillError: another teacher, or one with other settings, has taken its place.
        """
        reply = self.read(self.connection.ask(request))
        now = self._who()
        self._known = self._known or now
        if now != self._known:
            raise LitDistillError(
                f"server: {self.connection.name} was {self._known} and is {now} now; start the former again, "
                "or collect into another root"
            )
        return reply

    def _ask_until_right(self, request: dict[str, Any]) -> Reply:
        for attempt in range(1, self._delivery.attempts + 1):
            try:
                return self._patiently(lambda: self._answer(request))
            except BadAnswer as error:
                reason = f"{self.connection.name}: bad answer: {error}"
                logger.warning("%s (%d of %d)", reason, attempt, self._delivery.attempts)
                self.counts += QueryCost(retried=attempt < self._delivery.attempts)
        raise InfrastructureError(reason)

    def _patiently(self, call: Any) -> Any:
        """The result of a call, made again with growing pauses while its server is unreachable."""
        import tenacity

        def before_sleep(state: tenacity.RetryCallState) -> None:
            self.counts += QueryCost(retried=1)
            if state.attempt_number == 1 and state.outcome is not None:
                logger.warning(
                    "%s: %s; trying again for %.0f s",
                    self.connection.name,
                    state.outcome.exception(),
                    self._delivery.outage_s,
                )

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Unreachable),
            wait=tenacity.wait_exponential(FIRST_WAIT_S, LONGEST_WAIT_S)
            + tenacity.wait_random(0, FIRST_WAIT_S),
            stop=tenacity.stop_after_delay(self._delivery.outage_s),
            before_sleep=before_sleep,
            reraise=True,
        )
        try:
            return retrying(call)
        except Unreachable as error:
            raise TeacherUnavailable(
                f"{self.connection.name}: not reached for {self._delivery.outage_s:.0f} s: {error}"
            ) from None


def token_from(variable: str | None) -> str | None:
    """The credential in an environment variable, None if none is named; it is never stored.

    Raises:
        LitDistillError: the variable is not set.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise LitDistillError(f"token_env: the environment variable {variable} is not set")
    return token


def check_url(url: str, schemes: tuple[str, ...]) -> str:
    """The URL without a trailing slash.

    Raises:
        LitDistillError: another scheme, no host or port, or credentials in it, which would be stored.
    """
    wrong = LitDistillError(f"server: expected {schemes[0]}://HOST:PORT")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # nor is shown what may hold a password
        raise wrong from None
    if "@" in url or parts.query:
        raise LitDistillError("server: holds credentials; name an environment variable in token_env instead")
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise LitDistillError(f"{wrong}, got {url!r}")
    return url.rstrip("/")


def authorization(token: str | None) -> dict[str, str]:
    """The header that shows a server its token; none without one."""
    return {"Authorization": f"Api-Key {token}"} if token else {}


def token_refused(name: str) -> LitDistillError:
    """What to raise when a server turns the token away (status 401 or 403)."""
    return LitDistillError(f"token_env: {name} refuses the token, or wants one")


def one_line(error: Exception) -> str:
    """Kind and text of an error of a network library, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if text else ''}{text}"
