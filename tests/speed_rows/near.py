"""A network namespace for clients, from which a server in another one is far away."""

import subprocess
import sys

from speed_rows.table import ROOT

# The delay of a packet, so that a round trip takes 50 ms.
DELAY = "0.025"

# The server's address is also one of the clients' namespace, and its port leads to the
# other one.
NEAR_RULES = """
table ip way {{
    chain out {{
        type nat hook output priority -100;
        ip daddr {address} tcp dport {port} dnat to 10.9.0.2
    }}
    chain after {{
        type nat hook postrouting priority 100;
        oifname "way" masquerade
    }}
}}
"""

FAR_RULES = """
table ip way {{
    chain before {{
        type nat hook prerouting priority -100;
        ip daddr 10.9.0.2 tcp dport {port} dnat to {address}
    }}
}}
"""


class Near:
    """The namespace. `distance.py` carries its packets to that of the process `far`."""

    def __init__(self, far):
        self.far = far
        self.children = []
        holder = self.child("unshare", "--net", "sh", "-c", "ip link set lo up; echo; read line")
        self.pid = holder.pid
        distance = ROOT / "tests/speed_rows/distance.py"
        self.child(sys.executable, distance, str(self.pid), str(far), DELAY)

    def child(self, *command):
        """Starts a program that ends with its standard input. Waits for its first line."""
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.children.append(child)
        if not child.stdout.readline():
            sys.exit(f"{command} failed")
        return child

    def forward(self, address, port):
        """Lets clients reach a server in the other namespace at its own address."""
        run = lambda pid, *command, **more: subprocess.run(
            ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *command], text=True, check=True, **more
        )
        run(self.pid, "ip", "address", "add", f"{address}/32", "dev", "lo")
        for pid, rules in ((self.pid, NEAR_RULES), (self.far, FAR_RULES)):
            run(pid, "nft", "-f", "-", input=rules.format(address=address, port=port))

    def close(self):
        for child in self.children:
            child.stdin.close()
            child.wait()
