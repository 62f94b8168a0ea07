"""Asks upstreams for the ids of texts (llama.cpp's and vLLM's ``/tokenize``), beside the traffic.

Every message for the map passes here after the client has its bytes. A session of an upstream that
has no ``/tokenize``, or whose tokens came with ids, passes at once; else its messages wait in a
:class:`..core.identify.Line` while one task for each model asks for what is not known yet, many
texts a request. An upstream that fails, takes longer than ``PATIENCE`` or cannot keep up is left
alone for a while, and what waited goes on without ids.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, Protocol, TypeAlias

import trio

from geoosd.bridge.core import tokenize_vllm as vllm
from geoosd.bridge.core.identify import Line, needs_id
from geoosd.bridge.core.tokenize import Kind, Vocabulary, read_answer, request_of
from geoosd.errors import MessageError, UpstreamError
from geoosd.wire.messages import Payload, SessionEnded

PATH: Final = "/tokenize"

PATIENCE: Final = 0.25
"""Seconds in which a request must be answered."""

REST_SECONDS: Final = 30.0
"""How long an upstream is not asked after it failed."""

MAX_TEXTS: Final = 128
"""Texts in one request."""

MAX_BYTES: Final = 8192
"""UTF-8 bytes of the texts in one request. No more tokens than that can come of them, so that what
is learnt is not forgotten before it is used."""

MAX_WAITING: Final = 1024
"""Messages of one session that may wait: a server that is always a little late would let them grow
for as long as the session lasts."""

MAX_MODELS: Final = 4
"""Vocabularies that are remembered."""

OnBug: TypeAlias = Callable[[str, BaseException], None]


class Post(Protocol):
    """POSTs JSON to an upstream: status and body. Raises :class:`UpstreamError`."""

    async def __call__(self, upstream: str, path: str, body: bytes) -> tuple[int, bytes]: ...


class _Model:
    """One model of one upstream, and the sessions that wait for it."""

    def __init__(self, upstream: str, name: str | None, kind: Kind) -> None:
        self.upstream = upstream
        self.name = name
        self.kind: Kind = kind
        self.vocabulary = Vocabulary()
        self.lines: dict[str, Line] = {}
        self.rests_until = float("-inf")
        self.asking = False

    def unknown(self) -> list[str]:
        """The texts to ask for next."""
        texts: dict[str, None] = {}
        size = 0
        for text in chain.from_iterable(line.unknown() for line in self.lines.values()):
            if text in texts:
                continue
            size += len(text.encode())
            if texts and (size > MAX_BYTES or len(texts) == MAX_TEXTS):
                break
            texts[text] = None
        return list(texts)


class Tokenizing:
    """Puts ids where there are none. *kind_of* says whose ``/tokenize`` an upstream has, if any."""

    def __init__(
        self,
        *,
        kind_of: Callable[[str], Kind | None],
        post: Post,
        put: Callable[[list[Payload]], None],
        on_bug: OnBug,
    ) -> None:
        self._kind_of = kind_of
        self._post = post
        self._put = put
        self._on_bug = on_bug
        self._models: OrderedDict[tuple[str, str | None], _Model] = OrderedDict()
        self._sessions: dict[str, _Model] = {}
        self._nursery: trio.Nursery | None = None
        self._settled = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask, for ever. Before it runs, messages pass as they are."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def pass_on(
        self, payloads: list[Payload], session: str, upstream: str | None, model: str | None
    ) -> None:
        """Take the next messages of *session*, whose answer comes from *upstream*."""
        at = self._sessions.get(session)
        if at is None:
            needed = upstream is not None and any(map(needs_id, payloads))
            kind = self._kind_of(upstream) if upstream is not None and needed else None
            if upstream is None or kind is None:
                self._put(payloads)
                return
            at = self._model(upstream, model, kind)
            if self._nursery is None or trio.current_time() < at.rests_until:
                self._put(payloads)
                return
            self._sessions[session] = at
            at.lines[session] = Line(at.vocabulary)
        line = at.lines[session]
        self._forward(at, session, line.put(payloads))
        if len(line) > MAX_WAITING:
            at.rests_until = trio.current_time() + REST_SECONDS
            self._release(at, give_up=True)
        if at.asking or session not in at.lines or not len(at.lines[session]):
            return
        if self._nursery is None or trio.current_time() < at.rests_until:
            self._release(at, give_up=True)
            return
        at.asking = True
        self._nursery.start_soon(self._ask_all, at)

    async def wait_settled(self) -> None:
        """Wait until nothing waits here."""
        while any(len(line) for at in self._sessions.values() for line in at.lines.values()):
            self._settled = trio.Event()
            await self._settled.wait()

    # -- asking ------------------------------------------------------------------------------------

    def _model(self, upstream: str, name: str | None, kind: Kind) -> _Model:
        at = self._models.get((upstream, name))
        if at is None or at.kind != kind:
            at = self._models[upstream, name] = _Model(upstream, name, kind)
        self._models.move_to_end((upstream, name))
        while len(self._models) > MAX_MODELS:
            self._models.popitem(last=False)
        return at

    async def _ask_all(self, at: _Model) -> None:
        """Ask until nothing is unknown. Whatever happens, nobody waits for ever."""
        well = False
        try:
            while texts := at.unknown():
                await self._learn(at, texts)
                self._release(at)
            well = True
        except (UpstreamError, MessageError, trio.TooSlowError):
            at.rests_until = trio.current_time() + REST_SECONDS
        except Exception as error:  # noqa: BLE001 - ids are a nicety, the messages are not
            at.rests_until = trio.current_time() + REST_SECONDS
            self._on_bug("ids of texts", error)
        finally:
            at.asking = False
            self._release(at, give_up=not well)

    async def _learn(self, at: _Model, texts: Sequence[str]) -> None:
        if at.kind == "vllm":
            for text in texts:
                body = await self._ask(at, vllm.request_of(text, at.name))
                at.vocabulary.learn(text, vllm.read_answer(text, body))
                self._release(at)
            return
        found = read_answer(texts, await self._ask(at, request_of(texts, at.name)))
        if found is not None:
            for text, parts in zip(texts, found, strict=True):
                at.vocabulary.learn(text, parts)
        elif len(texts) == 1:
            at.vocabulary.learn(texts[0], ())
        else:  # one of them is cut into something else: which, only each alone can tell
            for text in texts:
                await self._learn(at, [text])

    async def _ask(self, at: _Model, request: bytes) -> bytes:
        with trio.fail_after(PATIENCE):
            status, body = await self._post(at.upstream, PATH, request)
        if status != 200:
            raise UpstreamError("upstream_unavailable", f"{PATH} answers {status}")
        return body

    # -- passing on --------------------------------------------------------------------------------

    def _release(self, at: _Model, *, give_up: bool = False) -> None:
        for session, line in list(at.lines.items()):
            self._forward(at, session, line.release(give_up=give_up))
        self._settled.set()

    def _forward(self, at: _Model, session: str, payloads: list[Payload]) -> None:
        if any(isinstance(payload, SessionEnded) for payload in payloads):
            del at.lines[session], self._sessions[session]
        if payloads:
            self._put(payloads)
