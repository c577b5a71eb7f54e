"""Whether a cluster's messages may be read, and its workers commanded, by others on its network."""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Iterable

from distributed.comm import get_address_host, parse_address

from psbook.errors import UnencryptedCluster

GUARDED = {"tls", "wss", "gateway", "inproc"}
"""Protocols whose messages are encrypted, or leave no process."""


def open_to_others(address: str) -> bool:
    """Whether a process with this Dask address listens to other machines, without encryption.

    Examples
    --------
    >>> open_to_others("tcp://10.0.0.1:8786"), open_to_others("tls://10.0.0.1:8786")
    (True, False)
    >>> open_to_others("tcp://127.0.0.1:8786"), open_to_others("inproc://10.0.0.1/1/2")
    (False, False)
    """
    if parse_address(address)[0] in GUARDED:
        return False
    host = get_address_host(address)
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def warn_unencrypted(addresses: Iterable[str]) -> None:
    """Warn, once, if any process of the cluster listens to other machines without encryption.

    Parameters
    ----------
    addresses
        Of the scheduler and the workers.

    Warns
    -----
    UnencryptedCluster
        With the addresses, and what to do.
    """
    found = sorted(filter(open_to_others, addresses))
    if found:
        shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        warnings.warn(
            f"{shown}: whoever reaches these ports can read the values and run code, for they are not "
            "encrypted; required outside a network of your own: TLS with certificates. Start scheduler and "
            "workers with --protocol tls --tls-ca-file … --tls-cert … --tls-key …, and pass "
            "ps.Dask(Client(address, security=distributed.Security(…))). In a trusted network: "
            'warnings.simplefilter("ignore", psbook.errors.UnencryptedCluster).',
            UnencryptedCluster,
            stacklevel=2,
        )
