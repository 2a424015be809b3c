"""Where things of ours lie on a host. Everything that removal must find is named here."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Layout:
    """Absolute paths without blanks. `etc` and `home` are folders of ours alone; the others are files among a system's.

    Where neither systemd nor OpenRC is, root's crontab has a line that names `home`.
    """

    etc: str = "/etc/tidepool"
    home: str = "/var/lib/tidepool"
    unit: str = "/etc/systemd/system/tidepool-agent.service"
    boot: str = "/etc/local.d/tidepool-agent.start"

    @property
    def owner(self) -> str:
        """Which control plane the host belongs to: JSON, readable by everybody."""
        return f"{self.etc}/owner.json"


INSTALLED: Final = Layout()
