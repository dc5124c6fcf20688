"""What is stored together belongs together."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from test_laws import settings  # noqa: F401  the same quick, repeatable profile
import torch

from dreamer_lite.replay import Experience, Replay
from dreamer_lite.rssm import State


def filled(steps, capacity=40, envs=2, **options):
    """Rows whose every number says which environment and step they are from; an episode ends every 7 steps."""
    replay = Replay(capacity=capacity, envs=envs, obs_size=1, action_size=1, deter=2, groups=1, classes=3, **options)
    replay.generator.manual_seed(0)
    add(replay, range(steps), envs)
    return replay


def add(replay, steps, envs=2):
    for t in steps:
        mark = torch.tensor([[t + 1000.0 * e] for e in range(envs)])
        flag = torch.full((envs,), False)
        step = Experience(mark, mark - 0.5, mark[:, 0] / 10, flag | (t % 7 == 0), flag | (t % 7 == 6), flag)
        replay.add(step, State(mark.expand(envs, 2), torch.eye(3)[[t % 3] * envs][:, None]))


@given(st.integers(6, 120), st.integers(1, 5))
def test_sequences_are_what_was_added_in_order(steps, length):
    replay = filled(steps)
    batch, (h, z), _ = replay.sample(32, length)
    obs = batch.obs[..., 0]
    assert batch.obs.shape == (32, length, 1)
    assert (obs.diff(dim=1) == 1).all()  # consecutive, one environment, never across the ring's seam
    step = obs % 1000
    assert (step >= max(0, steps - 20) + 1).all() and (step < steps).all()
    torch.testing.assert_close(batch.action[..., 0], obs - 0.5)
    torch.testing.assert_close(batch.reward, obs / 10)
    assert torch.equal(batch.is_first, step % 7 == 0) and torch.equal(batch.is_last, step % 7 == 6)
    assert torch.equal(h[:, 0], obs[:, 0] - 1)  # the state BEFORE the first step
    assert torch.equal(z[:, 0].argmax(-1), (step[:, 0].long() - 1) % 3)


def test_every_stored_step_is_drawn():
    """20 steps are held per environment, the oldest only as a start."""
    replay = filled(30)
    seen = {int(x) for _ in range(60) for x in replay.sample(32, 3)[0].obs.flatten()}
    assert seen == {t + 1000 * e for t in range(11, 30) for e in range(2)}


def test_refreshed_states_are_found_again():
    replay = filled(20)
    _, _, where = replay.sample(4, 5)
    newer = State(torch.full((4, 5, 2), -1.0), torch.eye(3)[[2]].expand(4, 5, 1, 3))
    replay.refresh(where, newer)
    assert (replay.data["h"][where] == -1).all() and (replay.data["z"][where] == 2).all()
    assert (replay.data["h"] == -1).sum() <= 4 * 5 * 2


def test_overlapping_sequences_are_refreshed_the_same_way_by_any_number_of_threads():
    """The shape of the `small` preset, where PyTorch begins to share the work among threads."""
    replay = Replay(capacity=4 * 120, envs=4, obs_size=1, action_size=1, deter=64, groups=8, classes=8)
    replay.added = 118
    replay.count.fill_(118)
    _, _, where = replay.sample(64, 8)
    states = State(
        torch.arange(512.0).view(64, 8, 1).expand(64, 8, 64).contiguous(),
        torch.eye(8)[torch.arange(512) % 8].view(64, 8, 1, 8).expand(64, 8, 8, 8),
    )
    flat = (where[0] * 120 + where[1]).flatten()
    assert len(flat.unique()) < len(flat)  # they do overlap
    for _ in range(20):
        replay.refresh(where, states)
        written = replay.data["h"].flatten(0, 1)
        for step in flat.unique().tolist():
            last = (flat == step).nonzero()[-1].item()
            assert (written[step] == last).all() and (replay.data["z"].flatten(0, 1)[step] == last % 8).all()


def test_a_sequence_longer_than_the_replay_is_refused():
    with pytest.raises(ValueError, match="holds 5 steps per environment, a sequence of 5 needs 6"):
        filled(5).sample(1, 5)


@given(st.integers(1, 3), st.integers(1, 4), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=3))
def test_the_online_queue_gives_each_step_once_and_in_order(envs, length, turns):
    """As in the official replay: the first sequence has the steps 1 to L, with the one that it starts from."""
    replay, added, queued = filled(0, 200 * envs, envs, online_queue=True), 0, []
    for more, batch in turns:
        add(replay, range(added, added + more), envs)
        for t in range(added, added + more):
            if t % (length + 1) == 0 and t:
                queued += [t - length + 1 + 1000 * env for env in range(envs)]
        added += more
        if added > length:
            steps = replay.sample(batch, length)[0].obs[..., 0]
            due, queued = queued[:batch], queued[batch:]
            assert steps[: len(due), 0].tolist() == due
            assert (steps.diff(dim=1) == 1).all()


@pytest.mark.parametrize("added", [55, 56, 57, 58])
def test_what_the_ring_has_overwritten_is_not_taken_from_the_online_queue(added):
    """It holds the last 20 steps of each environment; sequences of 3 + 1 begin with the steps 1, 5, 9, …"""
    first = filled(added, online_queue=True).sample(12, 3)[0].obs[:, 0, 0]
    whole = [t + 1 + 1000 * e for t in range(1, added - 3, 4) if t >= added - 20 for e in (0, 1)]
    assert first[: len(whole)].tolist() == whole
    assert set(first[len(whole) :].tolist()) <= {t + 1000 * e for t in range(added - 19, added - 2) for e in (0, 1)}


def test_the_online_queue_goes_on_where_a_checkpoint_left_it():
    replay, other = filled(20, online_queue=True), filled(0, online_queue=True)
    replay.sample(3, 3)
    other.load_state_dict(replay.state_dict())
    one, two = replay.sample(3, 3)[0].obs, other.sample(3, 3)[0].obs
    assert torch.equal(one, two) and one[0, 0, 0] == 1006  # the fourth: the second sequence of the second environment


def test_a_checkpoint_from_before_the_online_queue_is_read():
    replay, other = filled(20), filled(0)
    state = replay.state_dict()
    del state["next_in_queue"]
    other.load_state_dict(state)
    assert torch.equal(other.sample(3, 3)[0].obs, replay.sample(3, 3)[0].obs)


def test_without_the_online_queue_fresh_steps_have_no_place_of_their_own():
    plain, queue = filled(20).sample(8, 3)[0].obs, filled(20, online_queue=True)
    queue.sample(8, 3)  # all that waits
    queue.generator.manual_seed(0)
    assert torch.equal(queue.sample(8, 3)[0].obs, plain)


def test_what_does_not_fit_is_refused():
    replay, other = filled(50), filled(50, capacity=80)  # 20 and 40 steps of each environment
    one = Replay(capacity=20, envs=1, obs_size=1, action_size=1, deter=2, groups=1, classes=3)
    with pytest.raises(ValueError, match="is for 1 environments, but the step is of 2"):
        add(one, [0])
    for here, there in ((replay, other), (other, replay)):
        with pytest.raises(ValueError, match="holds .0 steps of each environment, but the saved one held .0 of 50"):
            here.load_state_dict(there.state_dict())
    other.load_state_dict(filled(15).state_dict())  # not yet full, so the order is the same


def test_a_step_may_be_of_arrays():
    """As environments give it."""
    replay = filled(0, envs=1)
    step = Experience(*(np.full((1, *shape), 1.0) for shape in ((1,), (1,), ())), *[np.array([True])] * 3)
    replay.add(step, State(torch.ones(1, 2), torch.eye(3)[None, :1]))
    assert replay.data["vector"][0, 0] == 1 and replay.data["is_first"][0, 0]


def test_256_classes_are_the_most_that_a_byte_holds():
    how = dict(capacity=4, obs_size=1, action_size=1, deter=2, groups=1)
    for classes, kind in ((256, torch.uint8), (257, torch.int32)):
        assert Replay(**how, classes=classes).data["z"].dtype == kind


def test_the_length_of_a_replay_buffer_is_over_all_environments():
    replay = Replay(capacity=30, envs=3, obs_size=1, action_size=1, deter=2, groups=1, classes=2)
    replay.added = 4
    assert len(replay) == 12
    replay.added = 99
    assert len(replay) == 30
