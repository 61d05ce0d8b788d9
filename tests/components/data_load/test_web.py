import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from components.data_load.addresses import checked_addresses, why_refused
from components.data_load.web import Web
from components.shared.errors import NotFoundError, SourceError, UnsafeInputError

REFUSED = [
    *("127.0.0.1", "127.9.9.9", "10.1.1.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.1.1"),
    *("100.64.0.1", "100.100.100.200", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "0.0.0.0"),
    *("192.0.0.192", "198.18.0.1", "168.63.129.16", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1"),
    *("fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:a00:1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
    *("2002:7f00:1::1", "2001:db8::1", "::127.0.0.1", "5f00::1"),
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    assert why_refused(address)
    with pytest.raises(UnsafeInputError, match="allow_private_addresses"):
        checked_addresses("data.test", 443, lambda *_: ["1.1.1.1", address])


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_taken(address: str) -> None:
    assert checked_addresses("data.test", 443, lambda *_: [address]) == [address]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0"],
)
def test_no_way_to_write_a_private_host_reaches_it(secure_site: Any, host: str) -> None:
    secure_site.file("/x.zip", b"secret")
    web = Web(allow_private=False)
    with pytest.raises((UnsafeInputError, SourceError)):
        web.read(secure_site.url("/x.zip", host), max_bytes=100)
    assert secure_site.requests == []


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize(
    "target",
    [
        *(
            "https://169.254.169.254/latest/meta-data/",
            "https://[::1]/",
            "https://2852039166/",
            "https://0251.0376.0251.0376/",
        ),
        *("https://[::ffff:10.0.0.1]/", "//10.0.0.1/x"),
    ],
)
def test_a_redirect_to_a_private_address_is_refused(secure_site: Any, target: str) -> None:
    url = secure_site.redirect("/x.zip", target)
    with pytest.raises((UnsafeInputError, SourceError)):
        Web(allow_private=False).read(url, max_bytes=100)
    assert len(secure_site.requests) == 1


@pytest.mark.usefixtures("loopback_is_public")
def test_a_name_that_changes_its_address_between_two_look_ups_gains_nothing(secure_site: Any) -> None:
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    secure_site.file("/x.zip", b"public")
    web = Web(allow_private=False, resolver=rebinding)
    url = secure_site.url("/x.zip", "data.test")
    assert web.read(url, max_bytes=100) == b"public"
    assert asked == ["data.test"]  # the connection went to what was checked, without asking again
    web.close()
    with pytest.raises(UnsafeInputError, match=r"'data\.test' \(10\.0\.0\.1\) lies on a private address"):
        Web(allow_private=False, resolver=rebinding).read(url, max_bytes=100)


@pytest.mark.usefixtures("loopback_is_public")
def test_each_redirect_is_looked_up_and_checked_again(secure_site: Any) -> None:
    hosts = {"data.test": ["127.0.0.1"], "other.test": ["192.168.0.7"]}
    url = secure_site.redirect("/x.zip", secure_site.url("/y.zip", "other.test"))
    web = Web(allow_private=False, resolver=lambda host, _: hosts[host])
    with pytest.raises(UnsafeInputError, match=r"other\.test"):
        web.read(url.replace("127.0.0.1", "data.test"), max_bytes=100)


@pytest.mark.usefixtures("loopback_is_public")
def test_the_certificate_must_be_that_of_the_name_though_the_address_was_checked(secure_site: Any) -> None:
    secure_site.file("/x.zip", b"public")
    web = Web(allow_private=False, resolver=lambda *_: ["127.0.0.1"])
    assert web.read(secure_site.url("/x.zip", "data.test"), max_bytes=100) == b"public"
    with pytest.raises(SourceError, match=r"certificate of 'https://evil\.test.*SSL_CERT_FILE"):
        web.read(secure_site.url("/x.zip", "evil.test"), max_bytes=100)


@pytest.mark.usefixtures("loopback_is_public")
def test_a_certificate_of_an_unknown_authority_is_refused(secure_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(SourceError, match="certificate"):
        Web(allow_private=False).read(secure_site.file("/x.zip", b"public"), max_bytes=100)


@pytest.mark.usefixtures("loopback_is_public")
def test_redirects_end_after_five_and_never_leave_https(secure_site: Any, site: Any) -> None:
    web = Web(allow_private=True)
    for number in range(6):
        secure_site.redirect(f"/{number}", f"/{number + 1}")
    secure_site.file("/6", b"end")
    assert web.read(secure_site.url("/1"), max_bytes=10) == b"end"
    with pytest.raises(SourceError, match="more than 5 times"):
        web.read(secure_site.url("/0"), max_bytes=10)
    down = secure_site.redirect("/down", site.file("/plain", b"x"))
    with pytest.raises(UnsafeInputError, match="not https"):
        web.read(down, max_bytes=10)
    assert site.requests == []


def test_a_redirect_to_a_user_or_another_scheme_is_refused(secure_site: Any) -> None:
    web = Web(allow_private=True)
    for target in ("https://u:secret@127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "https://"):
        with pytest.raises((SourceError, UnsafeInputError)) as caught:
            web.read(secure_site.redirect("/x", target), max_bytes=10)
        assert "secret" not in str(caught.value)


def test_a_token_is_not_sent_on_to_another_server(site: Any) -> None:
    web = Web(allow_private=True)
    site.redirect("/here", "http://localhost:" + site.file("/there", b"x").rpartition(":")[2])
    site.redirect("/same", "/there")
    for path, told in (("/here", False), ("/same", True)):
        site.requests.clear()
        assert web.read(site.url(path), max_bytes=10, headers={"Authorization": "Token t"}) == b"x"
        assert ["Authorization" in headers for _, headers in site.requests] == [True, told]


@pytest.mark.usefixtures("loopback_is_public")
def test_plain_http_is_refused_without_the_parameter(site: Any) -> None:
    with pytest.raises(SourceError, match="not encrypted"):
        Web(allow_private=False).read(site.file("/x", b"x"), max_bytes=10)


@pytest.mark.usefixtures("loopback_is_public")
def test_proxies_hold_only_where_private_addresses_may_be_used(
    secure_site: Any, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, site.url(""))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert Web(allow_private=False).read(secure_site.file("/x", b"x"), max_bytes=10) == b"x"
    assert site.requests == []
    site.routes["http://data.test/x"] = lambda handler: site.answer(handler, b"by proxy")
    assert Web(allow_private=True).read("http://data.test/x", max_bytes=10) == b"by proxy"


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (404, NotFoundError, "nothing at"),
        (410, NotFoundError, "nothing at"),
        (403, SourceError, "does not give"),
        (401, SourceError, "check the right"),
        (418, SourceError, "418"),
        (500, SourceError, "up and reachable"),
    ],
)
def test_a_refusal_of_the_server_is_one_sentence_without_the_query(
    site: Any, status: int, error: type[Exception], said: str
) -> None:
    url = site.say("/x.zip", b"no", status) + "?signature=abc"
    with pytest.raises(error, match=said) as caught:
        Web(allow_private=True).read(url, max_bytes=10)
    assert "abc" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert len(site.requests) == (5 if status == 500 else 1)


def test_a_server_that_recovers_is_read(site: Any) -> None:
    def stumble(handler: BaseHTTPRequestHandler) -> None:
        site.answer(handler, b"whole", 503 if len(site.requests) < 3 else 200)

    site.routes["/x"] = stumble
    assert Web(allow_private=True).read(site.url("/x"), max_bytes=10) == b"whole"


def test_more_bytes_than_allowed_are_refused_whether_announced_or_not(site: Any) -> None:
    def unannounced(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(bytes(5000))
        handler.close_connection = True

    web = Web(allow_private=True)
    site.routes["/silent"] = unannounced
    for url in (site.file("/told", bytes(5000)), site.url("/silent")):
        with pytest.raises(UnsafeInputError, match="more than the 100 bytes"):
            web.read(url, max_bytes=100)


def test_a_server_that_never_answers_is_given_up(site: Any) -> None:
    site.routes["/x"] = lambda _: time.sleep(0.6)
    with pytest.raises(SourceError, match="ReadTimeout"):
        Web(allow_private=True, timeout=httpx.Timeout(0.1)).read(site.url("/x"), max_bytes=10)


def test_an_unknown_host_is_one_sentence() -> None:
    with pytest.raises(SourceError, match=r"host 'no-such-host\.invalid'|cannot be read") as caught:
        Web(allow_private=False).read("https://no-such-host.invalid/x.zip", max_bytes=10)
    assert str(caught.value).endswith(".")
