"""What evaluations read: the fingerprint of it, a length of their own, and the test split."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlbgpt_core import scale
from hlbgpt_core.errors import DataError, SettingsError
from hlbgpt_core.evaluation import fingerprint_of, known_fingerprint, second_half_fingerprint
from hlbgpt_core.points import Directive, Outcome, Phase, Point, Split
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.data import TokenData
from hlbgpt_core.training.batches import RandomBatches
from hlbgpt_core.training.trainer import train
from hlbgpt_core.training.trajectory import made_up_tokens
from tests.small_runs import (
    Recorder,
    checkpointing_in,
    one_curve,
    release_at,
    small_data,
    small_settings,
    without_time,
)


def trained(settings: Settings, data: TokenData | None = None, **more: Any) -> Recorder:
    reporter = Recorder()
    train(settings, data or small_data(), seed=3, device="cpu", reporter=reporter, **more)
    return reporter


def of(reporter: Recorder, split: Split) -> list[Point]:
    return [point for point in reporter.points if point.split is split]


def with_own_test(tokens: int = 700) -> TokenData:
    test = made_up_tokens(3, tokens, 257).astype(np.uint16)
    return dataclasses.replace(small_data(), test=test, test_bytes=2 * tokens, test_fingerprint="of the test")


def test_the_fingerprint_tells_what_is_read_and_nothing_else() -> None:
    settings = small_settings().to_dict()
    first = fingerprint_of(Split.VAL, settings, text="a")
    same: dict[str, Any] = {"depth": 2, "max_steps": 3, "num_eval_tokens": 150, "eval_sequence_length": 32}
    for name, value in same.items():  # 150 tokens are the four sequences of 128
        assert fingerprint_of(Split.VAL, {**settings, name: value}, text="a") == first, name
    other: dict[str, Any] = {"num_eval_tokens": 256, "max_sequence_length": 64, "eval_sequence_length": 16}
    found = {first} | {fingerprint_of(Split.VAL, {**settings, name: value}, text="a") for name, value in other.items()}
    found |= {fingerprint_of(Split.VAL, settings, text="b"), fingerprint_of(Split.VAL, settings, text="a", part="half")}
    assert len(found) == 6


def test_one_length_of_evaluations_makes_sequence_lengths_comparable() -> None:
    long = {**small_settings(max_sequence_length=64, eval_sequence_length=32).to_dict()}
    assert fingerprint_of(Split.VAL, long, text="a") == fingerprint_of(Split.VAL, small_settings().to_dict(), text="a")


def test_the_fingerprint_never_changes_its_meaning() -> None:
    # A stored run keeps the fingerprint that it was given: these may not change from version to version.
    assert fingerprint_of(Split.VAL, {}, text="abc") == "5ed82219fb13b1c6"
    assert fingerprint_of(Split.VAL, {"recipe": "0.3.0"}, text="abc") == "68d60c4b78cd9c7f"


def test_a_run_that_was_stored_before_fingerprints_were_has_the_one_of_a_new_run() -> None:
    settings = small_settings(max_steps=1)
    new = trained(settings).known[0]
    stored = {name: value for name, value in settings.to_dict().items() if name not in ("eval_sequence_length",)}
    assert known_fingerprint(Split.VAL, stored, {"data_fingerprint": "made-up"}) == new.evaluation_fingerprint
    assert known_fingerprint(Split.VAL, stored, vars(new)) == new.evaluation_fingerprint
    assert known_fingerprint(Split.VAL, stored, {}) == ""
    assert known_fingerprint(Split.TRAIN, stored, vars(new)) == known_fingerprint(Split.TEST, stored, vars(new)) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eval_sequence_length": 64}, "eval_sequence_length 64 is above max_sequence_length 32"),
        ({"num_eval_tokens": 31}, "num_eval_tokens 31 is below max_sequence_length 32"),
        ({"num_eval_tokens": 15, "eval_sequence_length": 16}, "num_eval_tokens 15 is below eval_sequence_length 16"),
        ({"test_tokens": 31}, "test_tokens 31 is below max_sequence_length 32"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        scale.check(scale.resolve(small_settings(**changes)))


def test_evaluations_have_a_length_of_their_own() -> None:
    data = small_data()
    given: dict[str, Any] = {"seed": 1, "num_eval_tokens": 100, "evaluation_batch_size": 4}
    short = RandomBatches(data.train, data.val, max_length=32, evaluation_length=8, **given)
    other = RandomBatches(data.train, data.val, max_length=8, **given)
    sequences, expected = (np.concatenate(list(batches.validation())) for batches in (short, other))
    assert sequences.shape == (12, 9) and np.array_equal(sequences, expected)
    with pytest.raises(DataError, match="eval_sequence_length 8 needs 9"):
        RandomBatches(data.train, data.val[:8], max_length=32, evaluation_length=8, **given)
    assert not list(short.test())


def test_training_is_the_same_whatever_is_evaluated() -> None:
    plain = trained(small_settings())
    other = trained(small_settings(eval_sequence_length=16, num_eval_tokens=256, test_tokens=64))
    assert without_time(of(plain, Split.TRAIN)) == without_time(of(other, Split.TRAIN))
    assert [point.step for point in of(plain, Split.VAL)] == [point.step for point in of(other, Split.VAL)]


def test_a_test_of_one_s_own_leaves_the_validation_as_it_is() -> None:
    plain, tested = trained(small_settings()), trained(small_settings(test_tokens=128), with_own_test())
    assert without_time(of(plain, Split.VAL)) == without_time(of(tested, Split.VAL))
    (point,) = of(tested, Split.TEST)
    assert tested.points[-1] is point and point.step == 14
    assert point.pplx == pytest.approx(math.exp(point.loss)) and 0 <= point.acc <= 1
    assert point.bits_per_byte == pytest.approx(point.loss / math.log(2) / 2)
    last = of(tested, Split.VAL)[-1]
    assert (point.tokens_seen, point.lr, point.extra) == (last.tokens_seen, last.lr, {})
    before, facts = plain.known[0], tested.known[0]
    assert facts.evaluation_fingerprint == before.evaluation_fingerprint
    assert (before.test_fingerprint, before.test_evaluation_fingerprint) == ("", "")
    assert facts.test_fingerprint == "of the test" and facts.test_evaluation_fingerprint
    with pytest.raises(DataError, match="the test text has changed"):
        trained(small_settings(test_tokens=128), with_own_test(), fixed={"test_fingerprint": "another"})


def test_without_one_the_validation_text_is_halved() -> None:
    settings, data = small_settings(test_tokens=128), small_data()
    tested = trained(settings, data)
    first = dataclasses.replace(data, val=data.val[:500], val_bytes=500)
    assert without_time(of(tested, Split.VAL)) == without_time(of(trained(small_settings(), first), Split.VAL))
    second = dataclasses.replace(data, val=data.val[500:], val_bytes=500)
    (point,) = of(tested, Split.TEST)
    assert point.loss == of(trained(small_settings(), second), Split.VAL)[-1].loss
    plain, facts = trained(small_settings()).known[0], tested.known[0]
    assert facts.data_fingerprint == plain.data_fingerprint
    assert facts.evaluation_fingerprint != plain.evaluation_fingerprint
    assert facts.test_fingerprint == second_half_fingerprint("made-up")
    with pytest.raises(DataError, match="validation text has 30 tokens"):
        trained(settings, small_data(val_tokens=60))


def test_stopped_before_the_test_or_within_it_a_run_has_one_test_point(tmp_path: Path) -> None:
    settings = small_settings(test_tokens=128)
    whole = trained(settings)
    at_the_end = [n for n, one in enumerate(whole.progresses) if one.phase is Phase.EVALUATE and one.step == 14]
    assert len(at_the_end) == 8
    for number in at_the_end:
        folder, first, second = tmp_path / str(number), Recorder(release_at(number)), Recorder()
        place: dict[str, Any] = {"checkpointing": checkpointing_in(folder)}
        result = train(settings, small_data(), seed=3, device="cpu", reporter=first, **place)
        assert result.outcome is Outcome.RELEASED and not of(first, Split.TEST)
        place = {"checkpointing": checkpointing_in(folder, fence=2), "resume": first.saved}
        train(settings, small_data(), seed=3, device="cpu", reporter=second, fixed=vars(first.known[0]), **place)
        assert without_time(first.points + second.points) == without_time(whole.points)


def test_killed_between_the_last_evaluation_and_the_test_a_run_has_one_test_point(tmp_path: Path) -> None:
    class Killed(Recorder):
        def point(self, point: Point) -> None:
            super().point(point)
            if (point.split, point.step) == (Split.VAL, 14):
                raise SystemExit("as if killed")

    settings = small_settings(test_tokens=128)
    whole = trained(settings)
    first = Killed(lambda _, one: Directive.CHECKPOINT if one.step == 7 else Directive.CONTINUE)
    place: dict[str, Any] = {"checkpointing": checkpointing_in(tmp_path)}
    with pytest.raises(SystemExit):
        train(settings, small_data(), seed=3, device="cpu", reporter=first, **place)
    newest = first.saved[-1]
    assert 7 <= newest.step < 14 and not of(first, Split.TEST)
    second = Recorder()
    place = {"checkpointing": checkpointing_in(tmp_path, fence=2), "resume": [newest]}
    train(settings, small_data(), seed=3, device="cpu", reporter=second, **place)
    assert one_curve(first, second, newest.step) == without_time(whole.points)
    assert len(of(second, Split.TEST)) == 1


def test_the_checkpoint_that_is_kept_holds_the_run_whose_test_is_done_again(tmp_path: Path) -> None:
    settings, first, second = small_settings(test_tokens=128), Recorder(), Recorder()
    place = dataclasses.replace(checkpointing_in(tmp_path), keep_last=True)
    train(settings, small_data(), seed=3, device="cpu", reporter=first, checkpointing=place)
    train(
        settings, small_data(), seed=3, device="cpu", reporter=second, checkpointing=place, resume=first.saved
    )  # killed before its end was written down
    assert without_time(second.points) == without_time(of(first, Split.TEST))
