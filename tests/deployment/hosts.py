"""Several hosts on one machine: network namespaces with addresses of their own, joined by a bridge."""

from __future__ import annotations

import os
import shutil
import subprocess

from .cleanup import Cleanup

NETWORK = "198.18.77"  # RFC 2544: for tests of networks, on no real one


def missing() -> str:
    """Return why hosts cannot be made here; empty if they can."""
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"no {tool}: hosts are made with iproute2"
    if os.geteuid() != 0:
        return "not root: only root may make network namespaces"
    name = f"psb{os.getpid()}-probe"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"network namespaces are not allowed here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


class Hosts:
    """Hosts that reach each other, and nothing else.

    Parameters
    ----------
    cleanup
        Removes them in the end, with all that runs in them.
    names
        Of the hosts.
    """

    def __init__(self, cleanup: Cleanup, *names: str) -> None:
        self._cleanup = cleanup
        self._switch = self._namespace("switch")
        self._do(f"ip -n {self._switch} link add bridge type bridge")
        self._do(f"ip -n {self._switch} link set bridge up")
        self.addresses: dict[str, str] = {}
        self._ports: dict[str, str] = {}
        for number, name in enumerate(names, 1):
            self._plug_in(name, f"port{number}", f"{NETWORK}.{number}")

    def _namespace(self, name: str) -> str:
        namespace = f"psb{os.getpid()}-{name}"
        self._cleanup.later(f"ip netns del {namespace}")
        self._cleanup.later(f"ip netns pids {namespace} | xargs -r kill -KILL")
        self._do(f"ip netns add {namespace}")
        return namespace

    def _plug_in(self, name: str, port: str, address: str) -> None:
        host = self._namespace(name)
        self._do(f"ip link add eth0 netns {host} type veth peer name {port} netns {self._switch}")
        self._do(f"ip -n {self._switch} link set {port} master bridge up")
        self._do(f"ip -n {host} link set lo up")
        self._do(f"ip -n {host} address add {address}/24 dev eth0")
        self._do(f"ip -n {host} link set eth0 up")
        self.addresses[name], self._ports[name] = address, port

    def within(self, name: str) -> list[str]:
        """Return what comes before a command that is to run on a host."""
        return ["ip", "netns", "exec", self._of(name)]

    def limit(self, name: str, bits: int) -> None:
        """Let so many bits a second to a host, and from it."""
        bucket = f"root tbf rate {bits} burst 32kb latency 1s"
        self._do(f"tc -n {self._of(name)} qdisc add dev eth0 {bucket}")
        self._do(f"tc -n {self._switch} qdisc add dev {self._ports[name]} {bucket}")

    def unplug(self, name: str) -> None:
        """Pull a host's cable: nothing reaches it any more, and nobody is told."""
        self._do(f"ip -n {self._switch} link set {self._ports[name]} down")

    def _of(self, name: str) -> str:
        return f"psb{os.getpid()}-{name}"

    @staticmethod
    def _do(command: str) -> None:
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
