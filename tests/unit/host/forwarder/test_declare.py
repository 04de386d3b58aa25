"""Foretelling what the forwarder would say."""

from __future__ import annotations

import os
import socket

import pytest

from portchain.host.forwarder.declare import DeclareError, bound_forwards, predict_conflicts
from portchain.host.forwarder.forward_changes import plan_changes
from portchain.ports.forward import Forward


def test_a_port_in_use_is_foretold_in_dockers_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        wanted = [Forward.parse(f":{port}", "127.0.0.1:1")]
        with pytest.raises(DeclareError, match=rf"listen tcp 0\.0\.0\.0:{port}: bind: .*pid {os.getpid()}"):
            predict_conflicts(plan_changes([], wanted))
        predict_conflicts(plan_changes([Forward.parse(f"127.0.0.1:{port}", "127.0.0.1:1")], wanted))


def test_what_could_not_be_bound_is_not_there() -> None:
    listed = {"listen": ":1", "target": "127.0.0.1:1", "protocol": "tcp", "proxy_protocol": ""}
    assert bound_forwards([{**listed, "state": "failed"}]) == []
    assert bound_forwards([{**listed, "state": "waiting"}]) == [Forward.parse(":1", "127.0.0.1:1")]
