"""geoosd.control.core.remedy."""

import pytest

from geoosd.control.core.remedy import Place, remake

UP = "kill -INT 7; geoosd up"


@pytest.mark.parametrize(
    ("remedy", "system", "user", "foreground"),
    [
        (
            "geoosctl restart bridge",
            "sudo geoosctl restart bridge",
            "geoosctl restart bridge",
            "kill 12",
        ),
        (
            "geoosctl restart engine",
            "sudo geoosctl restart engine",
            "geoosctl restart engine",
            UP,  # it has no process that could be ended
        ),
        ("geoosctl restart", "sudo geoosctl restart", "geoosctl restart", UP),
        (
            "start one; else: geoosctl start engine",
            "start one; else: sudo geoosctl start engine",
            "start one; else: geoosctl start engine",
            "start one; else: geoosd engine",
        ),
        ("geoosctl start", "sudo geoosctl start", "geoosctl start", "geoosd up"),
        (
            remake("compositor"),
            "sudo geoosctl stop compositor && sudo geoosctl start compositor",
            "geoosctl stop compositor && geoosctl start compositor",
            UP,
        ),
        (
            "geoosctl config check && geoosctl reload",
            "geoosctl config check && sudo geoosctl reload",
            "geoosctl config check && geoosctl reload",
            "geoosctl config check && geoosctl reload",
        ),
        (
            "chmod 660 /run/geoos/ingest.sock",
            "sudo chmod 660 /run/geoos/ingest.sock",
            "chmod 660 /run/geoos/ingest.sock",
            "chmod 660 /run/geoos/ingest.sock",
        ),
        (
            "systemctl unmask geoos-bridge.service",
            "sudo systemctl unmask geoos-bridge.service",
            "systemctl --user unmask geoos-bridge.service",
            "systemctl unmask geoos-bridge.service",
        ),
        (
            "journalctl -n 20 -u geoos-backup.service",
            "sudo journalctl -n 20 -u geoos-backup.service",
            "journalctl --user -n 20 -u geoos-backup.service",
            "journalctl -n 20 -u geoos-backup.service",
        ),
        (
            "install -Dt /etc/x f && systemctl daemon-reload && geoosctl restart bridge",
            "sudo install -Dt /etc/x f && sudo systemctl daemon-reload"
            " && sudo geoosctl restart bridge",
            "install -Dt /etc/x f && systemctl --user daemon-reload && geoosctl restart bridge",
            "install -Dt /etc/x f && systemctl daemon-reload && kill 12",
        ),
        *(
            (same, same, same, same)
            for same in (
                "geoosctl logs --unit bridge",
                "geoosctl status; uptime",
                "df -h /x; ls -ld /x",
                "say geoosctl restart bridge to nobody",
            )
        ),
    ],
)
def test_a_remedy_is_the_command_of_its_place(remedy, system, user, foreground):
    ends = {"bridge": "kill 12"}
    assert Place("system").command(remedy, ends) == system
    assert Place("user").command(remedy, ends) == user
    assert Place("foreground", 7).command(remedy, ends) == foreground
