"""Every message survives its trip over the pipe, non-finite numbers included."""

import dataclasses
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlbgpt_core.points import Directive, Facts, Phase, Point, Progress, SavedCheckpoint, Split
from worker.trainer import messages
from worker.trainer.messages import ProtocolError, decode, encode

numbers = st.floats(allow_nan=True, allow_infinity=True)
counts = st.integers(min_value=0, max_value=2**53)
texts = st.text(max_size=40)
checkpoints = st.builds(SavedCheckpoint, path=texts, sha256=texts, step=counts)
points = st.builds(
    Point,
    split=st.sampled_from(Split),
    step=counts,
    loss=numbers,
    acc=numbers,
    pplx=numbers,
    cumulative_time=numbers,
    tokens_seen=counts,
    epoch=numbers,
    batch_size=counts,
    seq_length=counts,
    lr=numbers,
    weight_decay=numbers,
    grad_norm=st.none() | numbers,
    microbatches=st.none() | counts,
    bits_per_byte=st.none() | numbers,
    extra=st.dictionaries(texts, numbers, max_size=3),
)
facts = st.builds(Facts, data_fingerprint=texts, provenance=st.dictionaries(texts, texts, max_size=3))
progress = st.builds(Progress, phase=st.sampled_from(Phase), step=counts, fraction=numbers)
lease: dict[str, Any] = {"run_id": counts, "fence": counts}
all_messages = st.one_of(
    st.builds(
        messages.Start,
        **lease,
        settings=st.dictionaries(texts, texts | counts | st.booleans(), max_size=4),
        resume=st.lists(checkpoints, max_size=2).map(tuple),
        fixed_facts=st.dictionaries(texts, texts, max_size=3),
    ),
    st.builds(messages.Direct, **lease, directive=st.sampled_from(Directive)),
    st.builds(messages.Pause),
    st.builds(messages.Resume),
    st.builds(messages.ShutDown),
    st.builds(messages.Ready, pid=counts, core_digest=texts),
    st.builds(messages.Resumed, **lease, checkpoint=st.none() | checkpoints),
    st.builds(messages.FactsFound, **lease, facts=facts),
    st.builds(messages.PointMade, **lease, point=points),
    st.builds(messages.ProgressMade, **lease, progress=progress),
    st.builds(messages.CheckpointMade, **lease, checkpoint=checkpoints),
    st.builds(messages.Ended, **lease, reason=texts, error_traceback=texts, permanent=st.booleans()),
)


def plain(value: Any) -> Any:
    """The value with NaN, which equals nothing, made a word."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return (type(value), plain(vars(value)))
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


@given(all_messages)
def test_a_message_comes_back_as_it_went(message: messages.Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert plain(decode(line)) == plain(message)


@given(st.binary(max_size=60))
def test_anything_else_is_a_protocol_error(line: bytes) -> None:
    try:
        decode(line)
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b'{"kind":"Start"}', b'{"kind":"Nothing"}', b'{"kind":"Pause","x":1}', b'{"kind":[]}']
)
def test_lines_that_are_nearly_messages_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(line)


def test_every_message_class_can_be_sent() -> None:
    classes = {
        value
        for value in vars(messages).values()
        if dataclasses.is_dataclass(value) and value.__module__ == messages.__name__
    }
    assert classes == {*get_args(messages.Message), messages.AboutRun}
