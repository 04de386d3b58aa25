"""Things that a guest's variables name and that must exist: a user, folders, images and networks."""

from __future__ import annotations

from collections.abc import Iterator

from ..host.docker_api.binds import may_be_the_guests
from ..host.shares import Shares
from ..image.suites import ENGINE_IMAGE
from .guest_variables import InventoryGuest, element_label
from .machine_checks import MachineFacts

_ENGINE_NETWORKS = ("bridge", "default", "host", "none")
_BUILT_PREFIX = "portchain/"


def find_missing(guest: InventoryGuest, machine: MachineFacts) -> Iterator[str]:
    """Yield a problem for each thing that does not exist, with the variable that names it."""
    for problem in (
        *_folders(guest, machine),
        *_images(guest, machine),
        *_suites(guest, machine),
        *_networks(guest, machine),
    ):
        yield f"{guest}: {problem}"


def _folders(guest: InventoryGuest, machine: MachineFacts) -> Iterator[str]:
    home = machine.homes.get(guest.owner)
    if home is None:
        yield f"portchain_owner: the machine has no user {guest.owner}"
        return
    try:
        shares = guest.shares(home)
    except ValueError as error:
        yield f"guest_shares: {error}"
        return
    for share in shares.folders:
        if share.path not in machine.folders:
            yield f"guest_shares: {share.path} is not a folder of the machine"
    real = Shares.parse(machine.folders.get(share.path, share.path) for share in shares.folders)
    for label, path in guest.volumes(home):
        if not real.holding(machine.folders.get(path, path)) and not may_be_the_guests(path):
            yield f"{label}: {path} is not shared from the host; name its folder in guest_shares ({shares} now)"


def _images(guest: InventoryGuest, machine: MachineFacts) -> Iterator[str]:
    names = [name for name in guest["guest_image_names"] or [] if name]
    for name in names:
        if name not in machine.images:
            yield f"guest_image_names: there is no image {name}; there are {', '.join(sorted(machine.images))}"
    if "guest" not in names:
        yield "guest_image_names: guest is missing, the guest's own root file system"
    loaded = sorted(name for name in names if machine.images.get(name))
    for container in guest.containers() if "workloads_images" not in guest.given else []:
        image = container.get("image") or ""
        if image.startswith(_BUILT_PREFIX) and image.removeprefix(_BUILT_PREFIX) not in loaded:
            available = ", ".join(_BUILT_PREFIX + name for name in loaded) or "none"
            label = element_label("workloads_containers", container)
            yield f"{label}: image: {image} is not built; of guest_image_names, containers may have {available}"


def _suites(guest: InventoryGuest, machine: MachineFacts) -> Iterator[str]:
    """Yield the problems of the Debian suites that images are to be built from."""
    choice = guest.suites
    for name in choice.suites:
        if name == ENGINE_IMAGE:
            yield f"guest_image_suites: {name}: its suite follows from guest_engine; set that instead"
        elif name not in machine.images:
            yield f"guest_image_suites: there is no image {name}; there are {', '.join(sorted(machine.images))}"
    for name in sorted({*choice.suites, ENGINE_IMAGE}.intersection(guest["guest_image_names"] or [])):
        label = f"guest_engine {choice.engine}" if name == ENGINE_IMAGE else f"guest_image_suites: {name}"
        for suite in choice.origin(name, "").suites:
            if suite in machine.absent_suites:
                yield (
                    f"{label}: {machine.absent_suites[suite]}; choose another, or name a mirror with {suite} in "
                    "/etc/apt/sources.list.d"
                )


def _networks(guest: InventoryGuest, machine: MachineFacts) -> Iterator[str]:
    planned = (bridge.get("name") for bridge in guest.bridges())
    known = {*_ENGINE_NETWORKS, *machine.networks.get(guest.name, ()), *planned}
    for container, network in guest.attachments():
        name = network.get("name")
        if name and name not in known:
            label = element_label("workloads_containers", container)
            yield f"{label}: networks: there is no network {name}; docker_networks_networks makes those that it lists"
