"""The docker command, as people type it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import pty
import re
import shutil
import subprocess
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from probing import Run, answered, datagram, refused

from support.host_ports import free_port, free_ports
from support.waiting import eventually

RANDOM_PORTS = range(49152, 65536)
LIFE = ["create", "start", "kill", "die"]


def bindings(cli: Run, name: str) -> dict[str, Any]:
    """NetworkSettings.Ports as ``docker inspect`` shows it."""
    found = cli("inspect", "--format", "{{json .NetworkSettings.Ports}}", name)
    return dict(json.loads(found.stdout))


def port_of(cli: Run, name: str, key: str) -> int:
    """The host port in ``docker port``."""
    first = cli("port", name, key).stdout.splitlines()[0]
    return int(first.rpartition(":")[2])


def test_what_is_published_is_shown_alike_and_answers(cli: Run, image: str) -> None:
    port, given = free_port(), ("-p", "127.0.0.1::7000/udp")
    cli("run", "-d", "--name", "web", "-p", f"{port}:7000", *given, image)
    udp = port_of(cli, "web", "7000/udp")
    assert udp in RANDOM_PORTS
    assert port_of(cli, "web", "7000/tcp") == port
    shown = cli("ps", "--filter", "name=web", "--format", "{{.Ports}}").stdout
    assert f"0.0.0.0:{port}->7000/tcp" in shown
    assert f"127.0.0.1:{udp}->7000/udp" in shown
    assert bindings(cli, "web")["7000/udp"] == [{"HostIp": "127.0.0.1", "HostPort": str(udp)}]
    answered(port)
    assert datagram(udp, b"hello") == b"hello"
    cli("rm", "-f", "web")
    assert refused(port)


def test_publish_all_gives_each_exposed_port_one_of_the_hosts(cli: Run, image: str) -> None:
    cli("run", "-d", "-P", "--name", "all", "--expose", "7001", image)
    ports = {key: port_of(cli, "all", key) for key in ("7000/tcp", "7000/udp", "7001/tcp")}
    assert all(port in RANDOM_PORTS for port in ports.values())
    answered(ports["7000/tcp"])
    assert datagram(ports["7000/udp"], b"hello") == b"hello"
    host_config = json.loads(cli("inspect", "--format", "{{json .HostConfig}}", "all").stdout)
    assert host_config["PublishAllPorts"]


def test_random_ports_are_kept_over_a_restart(cli: Run, image: str) -> None:
    cli("run", "-d", "-p", "7000", "--name", "kept", image)
    port = port_of(cli, "kept", "7000/tcp")
    cli("restart", "-t", "0", "kept")
    assert port_of(cli, "kept", "7000/tcp") == port
    cli("stop", "-t", "0", "kept")
    assert refused(port)
    cli("start", "kept")
    assert port_of(cli, "kept", "7000/tcp") == port
    answered(port)


def test_pause_and_rename_and_update_leave_the_port(cli: Run, image: str) -> None:
    port = free_port()
    cli("run", "-d", "-p", f"{port}:7000", "--name", "before", image)
    answered(port)
    cli("pause", "before")
    assert not refused(port)
    cli("unpause", "before")
    cli("rename", "before", "after")
    cli("update", "--memory", "256m", "--memory-swap", "256m", "--restart", "unless-stopped", "after")
    answered(port)
    assert port_of(cli, "after", "7000") == port


def test_filters_go_by_what_is_published(cli: Run, image: str) -> None:
    port, other = free_ports(2)
    cli("run", "-d", "-p", f"{port}:7000", "--name", "wanted", image)
    cli("run", "-d", "-p", f"{other}:7001", "--name", "unwanted", image)

    def listed(*filters: str) -> list[str]:
        return cli("ps", "--format", "{{.Names}}", *(f"--filter={one}" for one in filters)).stdout.split()

    assert listed(f"publish={port}") == ["wanted"]
    assert listed(f"publish={other}/tcp", "name=wanted") == ["unwanted"]
    assert listed("expose=7001") == ["unwanted"]


def test_filter_by_a_random_port_of_the_host(cli: Run, image: str) -> None:
    cli("run", "-d", "-p", "7000", "--name", "random", image)
    port = port_of(cli, "random", "7000/tcp")
    assert cli("ps", "--format", "{{.Names}}", f"--filter=publish={port}").stdout.split() == ["random"]


def test_a_port_in_use_is_said_in_dockers_words(cli: Run, image: str) -> None:
    port = free_port()
    cli("run", "-d", "-p", f"{port}:7000", "--name", "first", image)
    started = time.monotonic()
    refusal = cli("run", "-d", "-p", f"{port}:7000", "--name", "second", image, rc=125).stderr
    assert time.monotonic() - started < 3
    assert f"Ports are not available: exposing port TCP 0.0.0.0:{port} -> 0.0.0.0:0: listen tcp" in refusal
    assert "bind: address already in use" in refusal
    assert "first" in refusal
    answered(port)


def test_logs_are_followed_to_the_end(cli: Run, image: str) -> None:
    script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; echo wrong >&2"
    cli("run", "-d", "--name", "talker", "--entrypoint", "sh", image, "-c", script)
    said = cli("logs", "-f", "talker")
    assert said.stdout.splitlines() == [f"line {i}" for i in range(1, 6)]
    assert said.stderr == "wrong\n"
    assert cli("wait", "talker").stdout == "0\n"


def test_exec_with_a_terminal(cli: Run, cli_path: str, image: str, run_dir: Path) -> None:
    cli("run", "-d", "--name", "room", image)
    master, slave = pty.openpty()
    command = [cli_path, "--host", f"unix://{run_dir}/docker.sock", "exec", "-it", "room", "sh"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as client:
        os.close(slave)
        os.write(master, b"tty; exit $((40 + 2))\n")
        seen = b""
        try:
            while data := os.read(master, 4096):
                seen += data
        except OSError:  # the terminal is gone with its last user
            pass
        os.close(master)
        assert client.wait(10) == 42, seen
    assert re.search(rb"/dev/pts/\d+", seen), seen


def test_attach_passes_the_end_of_input_on(cli: Run, image: str) -> None:
    text = "0123456789abcde\n" * 65536
    done = cli("run", "-i", "--rm", "--entrypoint", "wc", image, "-c", text=text)
    assert done.stdout.strip() == str(len(text))
    cli("create", "-i", "--name", "cat", "--entrypoint", "sh", image, "-c", "cat; echo the end")
    cli("start", "cat")
    assert cli("attach", "cat", text=text).stdout == f"{text}the end\n"


def test_exec_carries_both_streams_and_the_status(cli: Run, image: str) -> None:
    cli("run", "-d", "--name", "room", image)
    done = cli("exec", "-i", "room", "sh", "-c", "cat; echo wrong >&2; exit 7", text="right\n", rc=7)
    assert (done.stdout, done.stderr) == ("right\n", "wrong\n")


def test_cp_both_ways(cli: Run, image: str, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "there").write_bytes(content)
    cli("create", "--name", "shelf", image)
    cli("cp", str(tmp_path / "there"), "shelf:/srv/there")
    cli("cp", "shelf:/srv/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content


def test_build_and_commit(cli: Run, image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN echo built > /srv/note\nEXPOSE 7005\n")
    cli("build", "--quiet", "--tag", "note:1", str(tmp_path), env={"DOCKER_BUILDKIT": "0"})
    cli("run", "-d", "-P", "--name", "worker", "note:1")
    assert port_of(cli, "worker", "7005") in RANDOM_PORTS
    assert cli("exec", "worker", "cat", "/srv/note").stdout == "built\n"
    cli("commit", "worker", "note:2")
    cli("rm", "-f", "worker")
    cli("run", "-d", "--name", "copy", "note:2")
    assert cli("port", "copy").stdout == ""
    cli("rm", "-f", "copy")
    cli("rmi", "note:1", "note:2")


def test_build_where_one_is_logged_in_at_many_registries(cli: Run, tmp_path: Path) -> None:
    login = {"auth": base64.b64encode(b"someone:" + b"token" * 5000).decode()}
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"auths": {f"r{number}.test": login for number in range(20)}}))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    words = ("--quiet", "--tag", "logged-in:1", str(tmp_path))
    cli("build", *words, env={"DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(config)})
    cli("rmi", "logged-in:1")


def test_save_and_load(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY ballast /\n")
    (tmp_path / "ballast").write_bytes(os.urandom(3_000_000))
    cli("build", "--quiet", "--tag", "ballast:1", str(tmp_path), env={"DOCKER_BUILDKIT": "0"})
    archive = tmp_path / "ballast.tar"
    cli("save", "--output", str(archive), "ballast:1")
    assert archive.stat().st_size > 3_000_000
    cli("rmi", "ballast:1")
    assert "ballast:1" in cli("load", "--input", str(archive)).stdout
    cli("rmi", "ballast:1")


def test_export_and_import(cli: Run, image: str, tmp_path: Path) -> None:
    cli("create", "--name", "writer", image)
    (tmp_path / "note").write_text("exported\n")
    cli("cp", str(tmp_path / "note"), "writer:/srv/note")
    root, note = tmp_path / "root.tar", tmp_path / "note.tar"
    cli("export", "--output", str(root), "writer")
    with tarfile.open(root) as exported, tarfile.open(note, "w") as small:
        small.addfile(exported.getmember("srv/note"), exported.extractfile("srv/note"))
    cli("import", str(note), "note:3")
    cli("create", "--name", "reader", "note:3", "nothing to run")
    cli("cp", "reader:/srv/note", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "exported\n"
    cli("rm", "reader")
    cli("rmi", "note:3")


def test_build_with_buildkit(cli: Run, cli_path: str, tmp_path: Path) -> None:
    if not cli("version", "--format", "{{.Client.Version}}").stdout.startswith("20.10"):
        pytest.skip("this client has BuildKit only by its plugin buildx, which is not here")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY ballast /\n")
    (tmp_path / "ballast").write_bytes(os.urandom(1_000_000))
    cli("build", "--quiet", "--tag", "nothing:1", str(tmp_path), env={"DOCKER_BUILDKIT": "1"})
    cli("rmi", "nothing:1")


def test_events_are_told_as_they_happen(cli: Run, cli_path: str, image: str, run_dir: Path) -> None:
    command = [cli_path, "--host", f"unix://{run_dir}/docker.sock", "events", "--filter", "container=told"]
    form = ["--format", "{{.Action}}"]
    with subprocess.Popen([*command, *form], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        time.sleep(0.3)
        cli("run", "-d", "--name", "told", "-p", "7000", image)
        cli("rm", "-f", "told")
        threading.Timer(10, client.terminate).start()
        seen = list(itertools.takewhile(lambda action: action != "destroy\n", client.stdout))
        client.terminate()
    assert [action.strip() for action in seen if action.strip() in LIFE] == LIFE


def test_prune_removes_what_is_stopped_and_nothing_else(cli: Run, image: str) -> None:
    port = free_port()
    cli("run", "-d", "-p", f"{port}:7000", "--name", "running", image)
    cli("run", "--name", "stopped", "--entrypoint", "true", image)
    cli("container", "prune", "--force")
    assert cli("ps", "-a", "--filter", f"ancestor={image}", "--format", "{{.Names}}").stdout.split() == [
        "running",
        "probe",
    ]
    answered(port)


def test_a_second_network_leaves_the_port(cli: Run, image: str) -> None:
    port = free_port()
    cli("network", "create", "inner")
    cli("run", "-d", "-p", f"{port}:7000", "--name", "both", image)
    cli("network", "connect", "inner", "both")
    answered(port)
    assert port_of(cli, "both", "7000") == port
    cli("network", "disconnect", "bridge", "both")
    answered(port)
    assert port_of(cli, "both", "7000") == port


def test_stats_and_top_and_version(cli: Run, image: str, versions: dict[str, str]) -> None:
    cli("run", "-d", "--name", "busy", image)
    assert cli("stats", "--no-stream", "--format", "{{.Name}}", "busy").stdout.strip() == "busy"
    assert "probe" in cli("top", "busy").stdout
    assert cli("version", "--format", "{{.Server.Version}}").stdout.startswith(versions["docker"])
    eventually(lambda: "Running: " in cli("info").stdout, "docker info")


def test_the_guests_context_is_there_and_can_be_used(
    cli_path: str, guest_name: str, engine: Any, tmp_path: Path
) -> None:
    shutil.copytree(Path.home() / ".docker/contexts", tmp_path / "contexts")
    name = f"portchain-{guest_name}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}

    def docker(*words: str) -> str:
        done = subprocess.run(
            [cli_path, "--config", str(tmp_path), *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert name in docker("context", "ls", "--format", "{{.Name}}").split()
    assert docker("--context", name, "info", "--format", "{{.ID}}").strip() == engine.info()["ID"]
    docker("context", "use", name)
    assert docker("info", "--format", "{{.ID}}").strip() == engine.info()["ID"]
    docker("context", "update", name, "--description", "mine")
    (kept,) = [one for one in (tmp_path / "contexts/meta").glob("*/meta.json") if name in one.read_text()]
    assert json.loads(kept.read_text())["Metadata"]["portchain"] == guest_name
