"""What becomes of requests to the engine, and of its answers, where ports are concerned."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from ..forwarder.listener import BindError
from ..mapping.forward import Endpoint
from ..mapping.policy import PolicyError
from . import filters, views
from .binds import NotSharedError
from .exchange import Exchange, Handler, Response
from .ports import Ask, Check, Ports
from .publications import LABEL, plan

_CONTAINER = re.compile(r"/containers/([^/]+)(?:/([a-z]+))?")


class Rules:
    """Handles the requests that `route` picks out.

    ``taken`` tells what is listened on in the guest by others; ``check_binds`` raises NotSharedError for a container
    as it is asked for, or as it is.
    """

    def __init__(
        self,
        ports: Ports,
        ask: Ask,
        taken: Callable[[], Awaitable[list[Endpoint]]],
        check_binds: Check,
    ) -> None:
        self._ports = ports
        self._ask = ask
        self._taken = taken
        self._check_binds = check_binds
        self._fixed: dict[tuple[str, str], Handler] = {
            ("POST", "/containers/create"): self._create,
            ("GET", "/containers/json"): self._list,
            ("GET", "/system/df"): self._disk_usage,
            ("POST", "/commit"): self._commit,
        }
        self._of_container: dict[tuple[str, str | None], Callable[[Exchange, str], Awaitable[None]]] = {
            ("GET", "json"): self._inspect,
            ("POST", "start"): self._start,
            ("POST", "restart"): self._start,
            ("POST", "unpause"): self._start,
            ("POST", "stop"): self._end,
            ("POST", "kill"): self._end,
            ("DELETE", None): self._end,
        }

    def route(self, method: str, path: str) -> Handler | None:
        """Who handles a request; None: pass it on untouched."""
        fixed = self._fixed.get((method, path))
        if fixed:
            return fixed
        found = _CONTAINER.fullmatch(path)
        handler = found and self._of_container.get((method, found[2]))
        if not found or not handler:
            return None

        async def handle(exchange: Exchange) -> None:
            await handler(exchange, found[1])

        return handle

    async def _create(self, exchange: Exchange) -> None:
        body = await exchange.body()
        try:
            create = json.loads(body)
            await self._check_binds(create)
            published = await self._plan(create) if views.is_forwarded(create) else []
        except NotSharedError as error:
            await exchange.answer(Response.error(HTTPStatus.FORBIDDEN, str(error)))
            return
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            await exchange.answer(await exchange.ask(body))
            return
        views.strip_label(create)
        if published:
            views.rewrite_create(create, published)
        with self._ports.creating(published) as created:
            response = await exchange.ask(json.dumps(create).encode())
            if response.status == HTTPStatus.CREATED:
                created(json.loads(response.body)["Id"])
        await exchange.answer(response)

    async def _plan(self, create: views.Document) -> list[Any]:
        image_ports: Iterable[str] = ()
        if (create.get("HostConfig") or {}).get("PublishAllPorts"):
            image_ports = await self._exposed(str(create.get("Image")))
        asked = views.asked(create, image_ports)
        taken = await self._taken() if asked else []
        return plan(asked, self._ports.kept(), taken)

    async def _exposed(self, image: str) -> Iterable[str]:
        try:
            found = await self._ask(f"/images/{quote(image, safe='/:@')}/json")
        except OSError:
            return ()
        ports: Iterable[str] = ((found.get("Config") or {}).get("ExposedPorts") or {}).keys()
        return ports

    async def _start(self, exchange: Exchange, name: str) -> None:
        try:
            async with self._ports.starting(name, self._check_binds) as settle:
                await exchange.pass_on(before_answer=lambda _status: settle())
        except (PolicyError, NotSharedError) as error:
            await exchange.answer(Response.error(HTTPStatus.FORBIDDEN, str(error)))
        except BindError as error:
            await exchange.answer(Response.error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)))

    async def _end(self, exchange: Exchange, name: str) -> None:
        await exchange.pass_on(before_answer=lambda _status: self._ports.ended(name))

    async def _inspect(self, exchange: Exchange, _name: str) -> None:
        response = await exchange.ask()
        document = _document(response)
        if document:
            views.rewrite_inspect(document, self._ports.ends(str(document.get("Id"))))
            response = Response.json(HTTPStatus.OK, document)
        await exchange.answer(response)

    async def _list(self, exchange: Exchange) -> None:
        query, chosen = filters.take_ports(exchange.query)
        response = await exchange.ask(query=query)
        rows = _document(response)
        if rows:
            self._show(rows)
            response = Response.json(HTTPStatus.OK, chosen(rows))
        await exchange.answer(response)

    async def _disk_usage(self, exchange: Exchange) -> None:
        response = await exchange.ask()
        usage = _document(response)
        if usage:
            self._show(usage.get("Containers") or ())
            response = Response.json(HTTPStatus.OK, usage)
        await exchange.answer(response)

    def _show(self, rows: Iterable[views.Document]) -> None:
        for row in rows:
            views.rewrite_row(row, self._ports.ends(row["Id"]))

    async def _commit(self, exchange: Exchange) -> None:
        """An image made of a container is not to inherit what became of its ports."""
        change = f"changes={quote(f'LABEL {LABEL}=')}"
        await exchange.answer(await exchange.ask(query=f"{exchange.query}&{change}" if exchange.query else change))


def _document(response: Response) -> Any:
    """What an answer of the engine holds, None where it is an error or nothing we know."""
    if response.status != HTTPStatus.OK:
        return None
    try:
        return response.parsed()
    except (ValueError, RecursionError):
        return None
