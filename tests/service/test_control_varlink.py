"""control as an independent client sees it: the PyPI package ``varlink``."""

from __future__ import annotations

import trio
import varlink as independent
from test_control_service import control


def _ask(address: str) -> tuple[list[str], str, list[str]]:
    with independent.Client(address=address) as client:
        interfaces = client.get_interfaces()
        info = client.info["product"]
        with client.open("io.geoos.Control") as connection:
            found = connection.GetStatus()
            records = list(connection.GetLogs(lines=1, _more=True))
    assert records[0]["record"]["event"]
    assert records[-1].get("record") is None
    return list(interfaces), info, [each["name"] for each in found["daemons"]]


async def test_an_independent_client_reads_the_interface_and_the_status(tmp_path):
    async with control(tmp_path) as stage:
        address = f"unix:{stage.path}"
        with trio.fail_after(20):
            interfaces, product, names = await trio.to_thread.run_sync(_ask, address)
        assert {"io.geoos", "io.geoos.Control", "io.geoos.Daemon"} <= set(interfaces)
        assert product == "geoos control"
        assert names == ["compositor", "bridge", "broadcaster", "control"]
