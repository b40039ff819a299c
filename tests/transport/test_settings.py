"""Settings that cannot be meant are refused where they are made, by name."""

import math
from typing import Any

import pytest

from batchq_client.transport import TransportSettings


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("stream_window", 2**31),
        ("connection_window", 65_534),
        ("max_frame_size", 100),
        ("send_quantum", 0),
        ("write_buffer", -1),
        ("read_buffer", 0),
        ("max_header_list_size", -1),
        ("max_header_list_size", 2**32),
        ("max_streams", 0),
        ("max_streams", 2.5),
        ("max_connections", math.inf),
        ("resends", -1),
        ("resends", None),
        ("idle_timeout", 0),
        ("idle_timeout", math.nan),
        ("ping_interval", -1),
        ("ping_interval", 0),
        ("ping_interval", math.inf),
        ("ping_timeout", 0),
        ("ping_timeout", math.nan),
        ("ping_timeout", None),
        ("ping_timeout", "10"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        TransportSettings(**{name: wrong})


def test_the_least_that_can_be_meant_is_taken() -> None:
    least = TransportSettings(
        stream_window=0,
        write_buffer=0,
        max_header_list_size=0,
        resends=0,
        idle_timeout=0.001,
        ping_interval=1,
        ping_timeout=0.001,
    )
    assert least.idle_timeout == 0.001
    assert TransportSettings(idle_timeout=None, ping_interval=None).ping_interval is None
