"""The loopback: addresses that mean each machine itself."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether an address or name is of the loopback, which is another one on each machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
