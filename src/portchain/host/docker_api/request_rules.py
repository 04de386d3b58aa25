"""Handlers for the requests to the engine that concern ports or bind mounts, and for its answers to them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from ...http.body import ProtocolError
from ...http.json_text import TooMuchJsonError
from ...http.response import Response
from ...net.listening import BindError
from ...ports.bind_policy import PolicyError
from ...ports.forward import Endpoint
from ...protocol.container_states import STARTED
from . import list_filters, views
from .binds import NotSharedError
from .engine_client import EngineClient, is_container
from .exchange import Exchange, Handler
from .publications import MAX_OF_CONTAINER, ContainerPublication, assign_guest_endpoints
from .published_ports import ContainerCheck, PublishedPorts
from .records import MAX_PUBLICATIONS, Record
from .seldom_log import SeldomLog

_CONTAINER = re.compile(r"/containers/([^/]+)(?:/([a-z]+))?")
_CONDITIONS_MET = ("", "not-running")  # of a wait, by a container that does not run
_NETWORK = re.compile(r"/networks/[^/]+/(?:dis)?connect")

log = logging.getLogger(__name__)


class RequestRules:
    """Handles the requests that `route` selects.

    ``foreign_listeners`` returns the guest's listeners that are not publications. ``check_binds`` takes the body of a
    create request or an inspection, and raises NotSharedError if a folder is not shared. Clients are ``in_guest`` or on
    the host; only the latter read which process of the host has a port.
    """

    def __init__(
        self,
        ports: PublishedPorts,
        engine: EngineClient,
        foreign_listeners: Callable[[], Awaitable[list[Endpoint]]],
        check_binds: ContainerCheck,
        in_guest: bool = False,
    ) -> None:
        self._ports = ports
        self._engine = engine
        self._foreign_listeners = foreign_listeners
        self._check_binds = check_binds
        self._in_guest = in_guest
        self._not_understood = SeldomLog(log)
        self._fixed: dict[tuple[str, str], Handler] = {
            ("POST", "/containers/create"): self._create,
            ("GET", "/containers/json"): self._list,
            ("GET", "/system/df"): self._disk_usage,
        }
        self._of_container: dict[tuple[str, str | None], Callable[[Exchange, str], Awaitable[None]]] = {
            ("GET", "json"): self._inspect,
            ("POST", "start"): self._start,
            ("POST", "restart"): self._start,
            ("POST", "unpause"): self._start,
            ("POST", "stop"): self._change,
            ("POST", "kill"): self._change,
            ("POST", "rename"): self._change,
            ("POST", "wait"): self._wait,
            ("DELETE", None): self._change,
        }

    def route(self, method: str, path: str) -> Handler | None:
        """Return the handler of a request, or None to pass it on untouched."""
        fixed = self._fixed.get((method, path))
        if fixed:
            return fixed
        if method == "POST" and _NETWORK.fullmatch(path):
            return self._change_network
        match = _CONTAINER.fullmatch(path)
        handler = match and self._of_container.get((method, match[2]))
        if not match or not handler:
            return None

        async def handle(exchange: Exchange) -> None:
            await handler(exchange, match[1])

        return handle

    async def _create(self, exchange: Exchange) -> None:
        body = await exchange.body()
        publications: Sequence[ContainerPublication] | None = None
        try:
            async with self._engine.turns.turn(body):
                create = exchange.parse(body)
            await self._check_binds(create)
            requested = await self._requested(create)
            protocols, publications = views.proxy_protocols(create) if requested else {}, requested
        except NotSharedError as error:
            await exchange.answer(Response.error(HTTPStatus.FORBIDDEN, str(error)))
            return
        except TooMuchJsonError as error:
            raise ProtocolError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"host: the body of a create: {error}") from None
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            pass
        if publications is None:  # the engine says what is wrong
            await exchange.answer(await exchange.ask(body))
        else:
            await self._create_planned(exchange, create, Record(tuple(publications), protocols))

    async def _create_planned(self, exchange: Exchange, create: views.Document, requested: Record) -> None:
        """Create a container whose publications get endpoints in the guest that are reserved for it meanwhile."""
        publications = requested.published
        taken = await self._foreign_listeners() if publications else []
        with ExitStack() as reservation:
            async with self._ports.planning:
                record = replace(requested, published=await self._plan(publications, taken))
                created = reservation.enter_context(self._ports.creating(record))
            if record.published:
                views.rewrite_create(create, record.published)
            async with self._engine.turns.turn(await exchange.body()):
                rewritten = json.dumps(create).encode()
            response = await exchange.ask(rewritten)
            if response.status == HTTPStatus.CREATED:
                created(_created_id(response))
        await exchange.answer(response)

    async def _requested(self, create: views.Document) -> Sequence[ContainerPublication]:
        """Return the publications that a create asks for; raise ProtocolError for too many.

        Many ports take seconds, and so does planning them. Threads take turns with the event loop.
        """
        if not views.has_publications(create):
            return ()
        image_ports: Iterable[str] = ()
        if (create.get("HostConfig") or {}).get("PublishAllPorts"):
            image_ports = await self._exposed_ports(str(create.get("Image")))
        publications = await asyncio.to_thread(views.requested_publications, create, image_ports)
        if len(publications) > MAX_OF_CONTAINER:
            text = f"host: a container publishes at most {MAX_OF_CONTAINER} ports, and not {len(publications)}"
            raise ProtocolError(HTTPStatus.BAD_REQUEST, text)
        return publications

    async def _plan(
        self, publications: Sequence[ContainerPublication], taken: list[Endpoint]
    ) -> tuple[ContainerPublication, ...]:
        """Assign publications their endpoints in the guest; raise ProtocolError if it has not enough of them."""
        others = self._ports.publications()
        if len(publications) + len(others) > MAX_PUBLICATIONS:
            text = (
                f"host: the containers of this guest publish {len(others)} ports, and together at most "
                f"{MAX_PUBLICATIONS}: remove containers that are not needed"
            )
            raise ProtocolError(HTTPStatus.CONFLICT, text)
        if not publications:
            return ()
        try:
            return tuple(await asyncio.to_thread(assign_guest_endpoints, publications, others, taken))
        except ValueError as error:
            raise ProtocolError(HTTPStatus.CONFLICT, f"guest: {error}") from None

    async def _exposed_ports(self, image: str) -> Iterable[str]:
        try:
            document = await self._engine.get(f"/images/{quote(image, safe='/:@')}/json")
            ports: Iterable[str] = ((document.get("Config") or {}).get("ExposedPorts") or {}).keys()
        except (OSError, AttributeError):
            return ()
        return ports

    async def _start(self, exchange: Exchange, name: str) -> None:
        try:
            async with self._ports.starting(name, self._check_binds) as settle:
                await exchange.pass_on(before_answer=lambda _status: settle())
        except (PolicyError, NotSharedError) as error:
            await self._refuse(exchange, name, HTTPStatus.FORBIDDEN, str(error), str(error))
        except BindError as error:
            reason = await asyncio.to_thread(str, error)  # it may look through /proc for who has the port
            await self._refuse(exchange, name, HTTPStatus.INTERNAL_SERVER_ERROR, reason, error.for_guest)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            text = f"guest: the engine's inspection of container {name:.80} was not understood: {error!r:.200}"
            self._not_understood.warning("%s", text)
            raise ProtocolError(HTTPStatus.BAD_GATEWAY, text) from None

    async def _refuse(self, exchange: Exchange, name: str, status: HTTPStatus, reason: str, for_guest: str) -> None:
        """Refuse a start, and leave the container in the state that a failed start leaves."""
        try:
            document = await self._engine.inspect(name)
            if document and (document.get("State") or {}).get("Status") not in STARTED:
                await self._mark_refused(document, reason, for_guest)
        except OSError as error:
            log.warning("container %s: its start was refused, but it could not be marked as refused: %s", name, error)
        await exchange.answer(Response.error(status, for_guest if self._in_guest else reason))

    async def _mark_refused(self, document: views.Document, reason: str, for_guest: str) -> None:
        """Remove a container that is to be removed after its run; record the reason for any other."""
        container_id = str(document["Id"])
        if (document.get("HostConfig") or {}).get("AutoRemove"):
            await self._engine.remove(container_id)
        else:
            records = self._ports.records
            refused = replace(records.get(container_id), refused=reason, refused_for_guest=for_guest)
            records.put(container_id, refused)

    async def _wait(self, exchange: Exchange, name: str) -> None:
        """Pass on a wait, and release the host's listeners before the client learns that the container ended.

        If the host refused the container's last start, the exit status is that of a start that failed.
        """
        if exchange.params.get("condition", [""])[0] in _CONDITIONS_MET and await self._is_refused(name):

            def rewrite(result: Any) -> Any:
                return result | {"StatusCode": result.get("StatusCode") or views.NOT_STARTED}

            await exchange.answer(await self._rewritten(exchange, await exchange.ask(), rewrite))
            return
        await exchange.pass_on(before_body=lambda: self._ports.reconcile(name))

    async def _is_refused(self, name: str) -> bool:
        """Return whether a container does not run because the host refused its last start."""
        try:
            document = await self._engine.inspect(name)
        except OSError:  # the client gets the engine's own answer
            return False
        state = ((document or {}).get("State") or {}).get("Status")
        return document is not None and state not in STARTED and bool(self._ports.records.get(document["Id"]).refused)

    async def _change_network(self, exchange: Exchange) -> None:
        try:
            name = str(exchange.parse(await exchange.body())["Container"])
        except (ValueError, TypeError, KeyError, RecursionError):
            await exchange.pass_on()
        else:
            await exchange.pass_on(before_answer=lambda _status: self._ports.reconcile(name))

    async def _change(self, exchange: Exchange, name: str) -> None:
        await exchange.pass_on(before_answer=lambda _status: self._ports.reconcile(name))

    async def _inspect(self, exchange: Exchange, _name: str) -> None:
        def rewrite(document: Any) -> Any:
            if is_container(document):
                record = self._ports.records.get(document["Id"])
                shown = record.for_guest if self._in_guest else record
                views.rewrite_inspect(document, shown, self._ports.host_endpoints(document["Id"]))
            return document

        await exchange.answer(await self._rewritten(exchange, await exchange.ask(), rewrite))

    async def _list(self, exchange: Exchange) -> None:
        query, filter_rows = list_filters.take_port_filters(exchange.query)

        def rewrite(rows: Any) -> Any:
            self._rewrite_rows(rows)
            return filter_rows(rows)

        await exchange.answer(await self._rewritten(exchange, await exchange.ask(query=query), rewrite))

    async def _disk_usage(self, exchange: Exchange) -> None:
        def rewrite(usage: Any) -> Any:
            self._rewrite_rows(usage.get("Containers") or ())
            return usage

        await exchange.answer(await self._rewritten(exchange, await exchange.ask(), rewrite))

    async def _rewritten(self, exchange: Exchange, response: Response, rewrite: Callable[[Any], Any]) -> Response:
        """Return the engine's response with ``rewrite`` applied to its document.

        An error stays as it is, and so does what is no such document as the engine sends, or too long a one.
        """
        if response.status != HTTPStatus.OK:
            return response
        async with self._engine.turns.turn(response.body):
            try:
                document = exchange.parse(response.body)
                return Response.json(HTTPStatus.OK, rewrite(document)) if document else response
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
                self._not_understood.warning(
                    "guest: the engine's answer to %s %.100s is passed on as it is: %.200r",
                    exchange.method,
                    exchange.path,
                    error,
                )
                return response

    def _rewrite_rows(self, rows: Iterable[views.Document]) -> None:
        for row in rows:
            views.rewrite_row(row, self._ports.records.get(row["Id"]), self._ports.host_endpoints(row["Id"]))


def _created_id(response: Response) -> str:
    """Return the id of a container that was created; raise ProtocolError."""
    try:
        document = response.parsed()
    except ValueError:
        document = None
    if not is_container(document):
        raise ProtocolError(HTTPStatus.BAD_GATEWAY, "guest: the engine's answer to a create has no container's id")
    return str(document["Id"])
