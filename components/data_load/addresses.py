"""Which network addresses a download may connect to: those of the public internet and no others."""

import ipaddress
import socket
from collections.abc import Callable

from components.shared.errors import SourceError, UnsafeInputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]  # host, port -> numeric addresses

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64: the last 32 bits are an IPv4 address
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")
_RESERVED = tuple(  # what some releases of the standard library take for public
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "fec0::/10", "5f00::/16"))
)
_METADATA = frozenset(map(ipaddress.ip_address, ("168.63.129.16", "169.254.169.254", "fd00:ec2::254")))


class HostNotFoundError(OSError):
    """The name service has no answer just now."""


def resolve(host: str, port: int) -> list[str]:
    """The numeric addresses of a host, as the system's name service gives them.

    Raises:
        SourceError: no such host exists.
        HostNotFoundError: the name service does not answer; it may later.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise HostNotFoundError(f"the name service does not answer for {host!r}") from error
        raise SourceError(f"There is no host {host!r} ({error.strerror}): check the address.") from error
    except (UnicodeError, ValueError) as error:
        raise SourceError(f"{host!r} cannot be the name of a host: check the address.") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_addresses(host: str, port: int, resolver: Resolver = resolve) -> list[str]:
    """The addresses of a host, when all of them are public.

    Raises:
        UnsafeInputError: one of them is not; a host that mixes both is not to be trusted either.
        SourceError: no such host exists.
    """
    found = resolver(host, port)
    for text in found:
        if kind := why_refused(text):
            shown = f"{host!r}" if host == text else f"{host!r} ({text})"
            raise UnsafeInputError(
                f"The host {shown} lies on {kind} address: downloads come from the public internet only; set"
                " allow_private_addresses=true when it is a server of your own."
            )
    return found


def why_refused(text: str) -> str | None:
    """What kind of address this is when it is none of the public internet, else ``None``.

    >>> why_refused("::ffff:127.0.0.1"), why_refused("1.1.1.1")
    ('a loopback', None)
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return next((kind for each in (address, *_embedded(address)) if (kind := _kind(each))), None)


def _embedded(address: Address) -> list[Address]:
    """IPv4 addresses an IPv6 one stands for: mapped, 6to4, Teredo, NAT64."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _TRANSLATED:
        found.append(ipaddress.IPv4Address(address.packed[-4:]))
    return [each for each in found if each is not None]


def _kind(address: Address) -> str | None:
    if address in _METADATA:
        return "a cloud's metadata"
    if address in _TRANSLATED or (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped):
        return None  # the address inside is looked at on its own
    kinds = {
        "a loopback": address.is_loopback,
        "a link-local": address.is_link_local,
        "a multicast": address.is_multicast,
        "an unspecified": address.is_unspecified,
        "a carrier's private": address in _SHARED,
        "a private": address.is_private,
        "a reserved": address.is_reserved or not address.is_global or any(address in net for net in _RESERVED),
    }
    return next((kind for kind, holds in kinds.items() if holds), None)
