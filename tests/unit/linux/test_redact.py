from __future__ import annotations

import json

import pytest

from portchain.linux import redact


@pytest.mark.parametrize(
    "text",
    [
        "POSTGRES_PASSWORD=hunter2",
        "export AWS_SECRET_ACCESS_KEY='hunter2'",
        '"token": "hunter2"',
        "api_key: hunter2",
        "mysql --password=hunter2 --host=db",
        "mysql --password hunter2",
        "Authorization: Bearer hunter2",
        "authorization: Basic hunter2",
        "proxy http://user:hunter2@proxy:3128",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2",
        'password="a \\" hunter2"',
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert "hunter2" not in redact.text(text)
    assert redact.HIDDEN in redact.text(text)


@pytest.mark.parametrize(
    "text",
    [
        'tcp LISTEN 0 4096 127.0.0.1:8080 users:(("dockerd",pid=12))',
        "http://host.docker.internal:3128/path",
        "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:8080",
        "12:00 sshd[1]: pam_unix(sshd:auth): session opened",
        "monkey=1 keyboard: us",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert redact.text(text) == text


def test_json_stays_json() -> None:
    given = {
        "auths": {"registry": {"auth": "hunter2"}},
        "Env": ["PATH=/bin", "DB_PASSWORD=hunter2"],
        "proxies": {"http-proxy": "http://me:hunter2@proxy:3128"},
        "Secrets": [{"x": "hunter2"}],
        "count": 3,
    }
    assert json.loads(redact.content("a.json", json.dumps(given).encode())) == {
        "auths": "***",
        "Env": ["PATH=/bin", "DB_PASSWORD=***"],
        "proxies": {"http-proxy": "http://me:***@proxy:3128"},
        "Secrets": "***",
        "count": 3,
    }


def test_json_cut_short_is_redacted_as_text() -> None:
    assert b"hunter2" not in redact.content("a.json", b'{"password": "hunter2", "more')
