"""Cutting what was read into frames, and the lengths that h2 is told."""

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import FrameTooLargeError, InvalidBodyLengthError, ProtocolError
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    SettingsFrame,
)

from batchq_client.transport import HTTP2NotSupported, TransportSettings
from batchq_client.transport.framing import FrameScanner, Http2State

SETTINGS = SettingsFrame(0).serialize()
MAX_FRAME = 2**14


class Found:
    """Notes what a scanner finds, neighbouring pieces joined."""

    def __init__(self) -> None:
        self.items: list[tuple[object, ...]] = []

    def on_data(
        self, stream_id: int, payload: list[memoryview], *, padding: int, end_stream: bool
    ) -> None:
        data = b"".join(payload)
        if padding:
            self.items.append(("padded", stream_id, data, padding, end_stream))
            return
        if self.items and self.items[-1][:2] == ("data", stream_id) and not self.items[-1][3]:
            data = self.items.pop()[2] + data  # type: ignore[operator]
        self.items.append(("data", stream_id, data, end_stream))

    def on_control(self, frames: bytes) -> None:
        if self.items and self.items[-1][0] == "control":
            self.items[-1] = ("control", self.items[-1][1] + frames)  # type: ignore[operator]
        else:
            self.items.append(("control", frames))

    def on_goaway(self, frame: GoAwayFrame) -> None:
        self.items.append(("goaway", frame.last_stream_id, frame.additional_data))


def scan(data: bytes, step: int) -> list[tuple[object, ...]]:
    found = Found()
    scanner = FrameScanner(found, MAX_FRAME)
    kept = b""
    for start in range(0, len(data), step):
        kept += data[start : start + step]
        kept = kept[scanner.feed(memoryview(kept)) :]
    assert kept == b""
    return found.items


def frame(stream_id: int, payload: bytes, *flags: str) -> bytes:
    return DataFrame(stream_id, data=payload, flags=flags).serialize()


@pytest.mark.parametrize("step", [1, 2, 3, 8, 9, 10, 11, 1000])
def test_whatever_the_pieces_the_same_is_found(step: int) -> None:
    ping = PingFrame(0, opaque_data=b"12345678").serialize()
    head = HeadersFrame(3, data=b"\x88", flags=["END_HEADERS"]).serialize()
    goaway = GoAwayFrame(0, last_stream_id=5, additional_data=b"why").serialize()
    padded = DataFrame(3, data=b"x", flags=["PADDED"], pad_length=3).serialize()
    received = (
        SETTINGS
        + frame(1, b"one")
        + frame(1, b"")
        + frame(1, b"two", "END_STREAM")
        + ping
        + head
        + frame(3, b"three")
        + goaway
        + padded
        + frame(3, b"", "END_STREAM")
        + frame(5, b"five")
    )
    assert scan(received, step) == [
        ("control", SETTINGS),
        ("data", 1, b"onetwo", True),
        ("control", ping + head),
        ("data", 3, b"three", False),
        ("goaway", 5, b"why"),
        ("padded", 3, b"x", 4, False),
        ("data", 3, b"", True),
        ("data", 5, b"five", False),
    ]


@pytest.mark.parametrize("step", [1, 9, 1000])
def test_data_within_a_head_is_left_to_h2(step: int) -> None:
    received = SETTINGS + HeadersFrame(1, data=b"\x88").serialize() + frame(1, b"wrong")
    assert scan(received, step) == [("control", received)]


def test_data_on_stream_0_is_left_to_h2() -> None:
    wrong = b"\0\0\1\0\0\0\0\0\0x"
    assert scan(SETTINGS + wrong, 1000) == [("control", SETTINGS + wrong)]


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 400",
        b"no\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        frame(1, b"x"),
        SettingsFrame(0, flags=["ACK"]).serialize(),
    ],
)
def test_a_peer_begins_with_settings(first: bytes) -> None:
    with pytest.raises(HTTP2NotSupported):
        scan(first, 1000)


def test_a_frame_is_at_most_as_large_as_allowed() -> None:
    assert scan(SETTINGS + frame(1, bytes(MAX_FRAME)), 1000)[1][2] == bytes(MAX_FRAME)
    with pytest.raises(FrameTooLargeError):
        scan(SETTINGS + frame(1, bytes(MAX_FRAME + 1)), 1000)


def opened(
    settings: TransportSettings | None = None, fields: dict[str, str] | None = None
) -> Http2State:
    """A client with stream 1 open and its answer's head read."""
    state = Http2State(settings or TransportSettings())
    state.send_headers(1, [(":method", "POST"), (":authority", "a"), (":scheme", "http")])
    state.receive_data(SETTINGS)
    block = Encoder().encode([(":status", "200"), *(fields or {}).items()])
    state.receive_data(HeadersFrame(1, data=block, flags=["END_HEADERS"]).serialize())
    state.data_to_send()
    return state


def test_windows_are_h2s_own() -> None:
    state = opened(TransportSettings(stream_window=1000, connection_window=70_000))
    state.data_received(1, 400, end_stream=False)
    assert state.remote_flow_control_window(1) == 600
    assert state.inbound_flow_control_window == 69_600
    state.data_consumed(1, 400)
    assert state.remote_flow_control_window(1) == 600  # not half a window yet
    state.data_received(1, 200, end_stream=False)
    state.data_consumed(1, 200)
    assert state.remote_flow_control_window(1) == 1000
    with pytest.raises(ProtocolError):
        state.data_received(1, 1001, end_stream=False)


def test_a_content_length_is_checked() -> None:
    state = opened(fields={"content-length": "10"})
    state.data_received(1, 4, end_stream=False)
    with pytest.raises(InvalidBodyLengthError):
        state.data_received(1, 5, end_stream=True)


def test_what_is_sent_is_cut_at_the_peers_frame_size() -> None:
    state = opened()
    state.outbound_flow_control_window = 10**6
    state.receive_data(
        SettingsFrame(0, settings={SettingCodes.INITIAL_WINDOW_SIZE: 10**6}).serialize()
    )
    state.data_to_send()
    payload = bytes(range(256)) * 160
    output = b"".join(state.frame_data(1, memoryview(payload), end_stream=True))
    found = []
    while output:
        parsed, length = Frame.parse_frame_header(memoryview(output[:9]))
        parsed.parse_body(memoryview(output[9 : 9 + length]))
        assert isinstance(parsed, DataFrame)
        found.append((len(parsed.data), "END_STREAM" in parsed.flags))
        output = output[9 + length :]
    assert found == [(16384, False), (16384, False), (8192, True)]
    assert state.send_allowance(1) == 10**6 - len(payload)


def test_data_on_a_stream_that_was_not_reset_is_an_error() -> None:
    state = opened()
    with pytest.raises(ProtocolError):
        state.data_discarded(7, 1)
    state.reset_stream(1, ErrorCodes.CANCEL)
    state.forget(1)
    before = state.inbound_flow_control_window
    state.data_discarded(1, 10)
    assert state.inbound_flow_control_window == before - 10
