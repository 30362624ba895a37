"""The monitor's clock, by tables: no model, no TensorFlow."""

import itertools

import pytest

from keras_lecture_opt.monitor._clock import EARLY, Clock


def run(clock, counts, batches=1, moved=False, batch_numbers=True):
    """Feed the clock one epoch: pairs of counts before and after each call.

    Returns:
        (run step, is shown, is early) of each event.
    """
    events, batch = [], 0
    for before, after in counts:
        clock.before(before, batch if batch_numbers else None, batches)
        if event := clock.after(after, lambda: moved):
            events.append((clock.step, event.is_shown, event.is_early))
        batch += batches
    return events


def series(*counts):
    """Pairs of counts of one optimizer, that follow each other."""
    return [({"a": a}, {"a": b}) for a, b in itertools.pairwise(counts)]


def fit(clock, epochs, length, **options):
    """One `fit`: a list of epochs, each a list of pairs."""
    events = []
    for epoch, counts in enumerate(epochs):
        clock.begin_epoch(epoch)
        events += run(clock, counts, **options)
        clock.end_epoch({}, batches_per_call=options.get("batches", 1))
    return events


def shown(events):
    return [step for step, is_shown, _ in events if is_shown]


def early(events):
    return [step for step, _, is_early in events if is_early]


@pytest.mark.parametrize(
    ("update_freq", "expected"),
    [("epoch", [4, 8]), (1, [*range(1, 9)]), (3, [3, 6]), (100, [8])],
)
def test_what_is_shown(update_freq, expected):
    clock = Clock(update_freq)
    clock.begin(0, 4, 2)
    events = fit(clock, [series(*range(5)), series(*range(4, 9))], 4)
    assert shown(events) == expected
    assert early(events) == [1, 2, 5]


@pytest.mark.parametrize(
    ("title", "epochs", "steps"),
    [
        ("warm restarts", [series(0, 1, 2, 3), series(0, 1, 2, 3), series(0, 1)], [1, 2, 5]),
        ("assigned between the calls", [[({"a": 0}, {"a": 1}), ({"a": 0}, {"a": 1})]], [1, 2]),
        ("assigned within a call", [[({"a": 5}, {"a": 6}), ({"a": 6}, {"a": 0})]], [1, 2]),
        ("assigned to a small number", [[({"a": 5}, {"a": 6}), ({"a": 6}, {"a": 3})]], [1, 2]),
        ("assigned to a large number", [[({"a": 5}, {"a": 6}), ({"a": 6}, {"a": 1000})]], [1, 2]),
        ("accumulation", [series(0, 0, 0, 1, 1, 1, 2)], [1, 2]),
        ("skipped overflows", [series(0, 0, 0, 1, 2)], [1, 2]),
        ("compiled anew", [series(0, 1), [({"b": 0}, {"b": 1})]], [1, 2]),
        ("resumed from a backup", [series(7, 8, 9)], [1, 2]),
    ],
)
def test_early_steps_of_a_training(title, epochs, steps):
    clock = Clock("epoch")
    clock.begin(0, len(epochs[0]), len(epochs))
    assert early(fit(clock, epochs, None)) == steps


def test_the_run_step_never_goes_back():
    """Five folds, each with an optimizer of its own that begins at 0."""
    clock, all_early = Clock("epoch"), []
    for fold in range(5):
        clock.begin(clock.step, 20, 1)
        assert clock.age == 0
        events = fit(clock, [series(*range(21))], 20)
        assert shown(events) == [20 * fold + 20]
        all_early += [early(events)]
    assert all_early == [[20 * fold + n for n in (1, 2, 5, 10, 20)] for fold in range(5)]


@pytest.mark.parametrize("order", [1, -1])
def test_critic_steps_make_one_step_whatever_the_order(order):
    clock = Clock(1)
    clock.begin(0, 3, 1)
    counts = [dict([("critic", 3 * n), ("generator", n)][::order]) for n in range(4)]
    events = run(clock, itertools.pairwise(counts))
    assert shown(events) == [1, 2, 3]


def test_steps_of_each_optimizer():
    clock = Clock(1)
    clock.begin(0)
    clock.before({"critic": 0, "generator": 0, "never": 0})
    event = clock.after({"critic": 3, "generator": 1, "never": 0}, lambda: False)
    assert [event.steps_of(k) for k in ("critic", "generator", "never")] == [3, 1, None]
    assert event.steps_of("unknown") == 3
    clock.before({"critic": 3, "generator": 1, "never": 0})
    event = clock.after({"critic": 4, "generator": 1, "never": 0}, lambda: False)
    assert clock.step == 2
    assert [event.steps_of(k) for k in ("critic", "generator", "never")] == [1, 0, None]


def test_ten_steps_in_one_call_of_a_custom_loop():
    clock = Clock(1)
    clock.begin(0)
    events = run(clock, series(0, 10, 20), batch_numbers=False)
    assert events == [(10, True, True), (20, True, False)]


def test_steps_outside_of_the_calls_of_a_custom_loop_count():
    clock = Clock(1)
    clock.begin(0, counts={"a": 0})
    pairs = [({"a": a}, {"a": b}) for a, b in ((3, 4), (4, 5), (7, 8), (0, 1))]
    assert shown(run(clock, pairs, batch_numbers=False)) == [4, 5, 8, 9]
    assert clock.missed({"a": 4, "b": 7}) == 3


def test_keras_counts_a_step_more_where_data_of_unknown_length_end():
    clock = Clock("epoch")
    clock.begin(0, None, 1)
    clock.begin_epoch(0)
    run(clock, series(*range(8)))
    clock.end_epoch({"a": 8})
    assert (clock.step, clock.missed({"a": 8})) == (7, 0)


def test_calls_of_several_batches():
    clock = Clock(5)
    clock.begin(0, 7, 2)
    epochs = [series(0, 3, 6, 7), series(7, 10, 13, 14)]
    events = fit(clock, epochs, 7, batches=3)
    assert shown(events) == [6, 10]
    assert early(events) == []  # the last batch alone is step 7
    clock = Clock("epoch")
    clock.begin(0, 7, 2)
    assert shown(fit(clock, epochs, 7, batches=3)) == [7, 14]


def test_unknown_length_is_learned_in_the_first_epoch():
    for batches, epochs in ((1, [series(*range(8)), series(*range(7, 15))]), (3, None)):
        epochs = epochs or [series(0, 3, 6, 7), series(7, 10, 13, 14)]
        clock = Clock("epoch")
        clock.begin(0, None, 2)
        clock.begin_epoch(0)
        assert shown(run(clock, epochs[0], batches)) == []
        assert clock.end_epoch({}, batches_per_call=batches)  # shown without its size
        clock.begin_epoch(1)
        assert shown(run(clock, epochs[1], batches)) == [14]
        assert not clock.end_epoch({}, batches_per_call=batches)


def test_where_no_optimizer_is_known_batches_count_if_weights_move():
    clock = Clock(4)
    clock.begin(0, 8, 1)
    assert run(clock, [({}, {})] * 8, moved=True)[-1] == (8, True, False)
    clock = Clock(4)
    clock.begin(0, 8, 1)
    assert run(clock, [({}, {})] * 8, moved=False) == []
    assert not clock.end()


def test_training_with_fewer_batches_than_update_freq():
    clock = Clock(100)
    clock.begin(0, 7, 2)
    assert shown(fit(clock, [series(*range(5))], None)) == []  # stopped early
    assert clock.end()


def test_early_steps():
    assert sorted(EARLY)[:8] == [1, 2, 5, 10, 20, 50, 100, 200]
