"""The optimizer's flat vector, whatever is done to the agent between its steps; one train step that waits for
nothing."""

import copy
from dataclasses import replace
import pickle

import numpy as np
import pytest
from tape import Tape
import torch

from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config, Spaces
from dreamer_lite.errors import Refused
from dreamer_lite.imagination import imagine
from dreamer_lite.learner import Learner
from dreamer_lite.replay import Replay
from dreamer_lite.training.bench import CARTPOLE, make_batch

CONFIG = Config.preset("debug", warmup=0, average=0.5)


def new(discrete=True):
    torch.manual_seed(0)
    return Learner(Dreamer(CONFIG, Spaces(4, 2, discrete)))


def take(learner, steps=3):
    """Some train steps, always the same ones. Returns all parameters after them."""
    torch.manual_seed(1)
    batch = make_batch(CONFIG, "cpu")
    for _ in range(steps):
        learner.train_step(batch, learner.agent.initial(CONFIG.batch_size).state)
    return [p.detach().clone() for p in learner.agent.parameters()]


def deep_copy(learner):
    return copy.deepcopy(learner)


def pickled(learner):
    return pickle.loads(pickle.dumps(learner))


def copy_the_agent(learner):
    return Learner(copy.deepcopy(learner.agent))


def zero_grad(learner):
    learner.agent.zero_grad()


def assign(learner):
    learner.agent.load_state_dict(copy.deepcopy(learner.agent.state_dict()), assign=True)


def there_and_back(learner):
    learner.agent.double().float()


@pytest.mark.parametrize("change", [deep_copy, pickled, copy_the_agent, zero_grad, assign, there_and_back])
def test_training_goes_on_whatever_is_done_to_the_agent(change):
    """Each of these takes parameters or gradients out of the flat vectors, without a word."""
    expected, learner = take(new()), new()
    learner = change(learner) or learner
    assert all(map(torch.equal, take(learner), expected))


@pytest.mark.parametrize("change", [deep_copy, zero_grad, assign])
def test_also_in_the_middle_of_training(change):
    def twice(learner, change):
        take(learner)
        return take(change(learner) or learner)

    assert all(map(torch.equal, twice(new(), change), twice(new(), lambda learner: None)))


def test_what_is_frozen_on_the_way_stays_as_it_is():
    """Also by the momentum of what it learned before. What is not frozen learns on."""
    learner = new()
    before, actor = take(learner), learner.agent.actor.requires_grad_(False)
    names = [name for name, _ in learner.agent.named_parameters()]
    for name, old, weight in zip(names, before, take(learner), strict=True):
        if name.startswith(("actor", "critic.net")):
            assert torch.equal(old, weight) == name.startswith("actor"), name
    actor.requires_grad_(True)
    assert not any(torch.equal(*pair) for name, *pair in zip(names, before, take(learner)) if name.startswith("actor"))


def test_weights_that_nothing_would_train_are_refused():
    agent = new().agent
    agent.extra = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match="extra.weight, extra.bias: only the weights in world_model"):
        Learner(agent)
    agent.extra.requires_grad_(False)
    take(Learner(agent))


def test_a_loss_without_a_weight_is_named():
    learner = new()
    del learner.loss_scales["rep"]
    with pytest.raises(ValueError, match="loss_scales has no weight for rep"):
        take(learner)


@pytest.mark.parametrize("other", [dict(average=0), dict(hidden=16)])
def test_the_state_of_another_learner_is_refused_and_nothing_changes(other):
    learner = new()
    before = take(learner, steps=1)
    with pytest.raises(ValueError, match="of a learner with other weights or another setting"):
        learner.load_state_dict(Learner(Dreamer(replace(CONFIG, **other), Spaces(4, 2, True))).state_dict())
    assert all(map(torch.equal, take(learner, steps=0), before))


def test_a_sample_of_the_replay_buffer_is_what_a_train_step_takes():
    learner, c = new(), CONFIG
    replay = Replay(capacity=100, obs_size=4, action_size=2, deter=c.deter, groups=c.groups, classes=c.classes)
    batch = make_batch(c, "cpu")
    for t in range(c.seq_len + 1):
        replay.add(batch.map(lambda part: part[:1, t % c.seq_len]), learner.agent.initial(1).state)
    batch, start, _ = replay.sample(c.batch_size, c.seq_len)
    states, means = learner.train_step(batch, start)
    assert states.h.shape == (c.batch_size, c.seq_len, c.deter) and means["dyn"] > 0


def test_gradients_that_are_thrown_away_and_made_anew_count():
    learner = new()
    batch, before = make_batch(CONFIG, "cpu"), learner.optimizer.weights.clone()
    learner.optimizer.zero_grad()
    learner.agent.zero_grad()  # PyTorch's own: gradients become None, and backward makes new ones elsewhere
    losses, _, _ = learner.agent.loss(batch, learner.agent.initial(CONFIG.batch_size).state)
    sum(loss.mean() for loss in losses.values()).backward()
    learner.optimizer.step()
    assert (learner.optimizer.weights != before).float().mean() > 0.5


def test_an_agent_of_another_type_is_refused():
    learner = new()
    learner.agent.double()
    with pytest.raises(ValueError, match="is now torch.float64.*Make a new optimizer"):
        take(learner)


def test_other_weights_are_loaded_before_the_learner_is_made():
    other = new()
    take(other)
    agent = new().agent
    agent.load_state_dict(copy.deepcopy(other.agent.state_dict()), assign=True)
    learner = Learner(agent)
    for weights in (learner.state_dict()["weights"], learner.average):
        assert torch.equal(weights, other.optimizer.weights)


def test_while_the_average_is_in_place_the_trained_weights_are_not_lost():
    learner = new()
    take(learner)
    trained = learner.optimizer.weights.clone()
    with learner.averaged() as agent, learner.averaged():
        assert torch.equal(learner.state_dict()["weights"], trained) and not torch.equal(
            learner.optimizer.weights, trained
        )
        assert agent is learner.agent and torch.equal(learner.optimizer.weights, learner.average)
        with pytest.raises(RuntimeError, match="would be lost"):
            take(learner)
    assert torch.equal(learner.optimizer.weights, trained)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 0.1])
def test_the_average_reaches_back_over_a_share_of_all_steps(share):
    """Behind weights that grow by one in each step, the plain mean lags by half of all steps, and a share s of them by
    s / (1 + s)."""
    learner = Learner(Dreamer(replace(CONFIG, average=share), Spaces(4, 2, True)))
    for step in range(1, 1001):
        learner.optimizer.count.fill_(step)
        learner.optimizer.weights.fill_(step)
        learner.update_average()
    assert learner.average.allclose(torch.tensor(1001 / (1 + share)), rtol=1e-4)


def test_a_weight_that_was_turned_round_is_laid_out_anew():
    """PyTorch's `.t()` is a view of the same memory."""
    learner = new()
    weight = next(p for p in learner.agent.parameters() if p.ndim == 2 and p.shape[0] == p.shape[1])
    turned = weight.detach().t().clone()
    weight.data = weight.data.t()
    learner.optimizer.adopt()
    assert torch.equal(weight, turned) and weight.is_contiguous()


@pytest.mark.parametrize("discrete", [True, False])
def test_a_train_step_never_waits_for_a_value(discrete):
    learner, batch = new(discrete), make_batch(CONFIG, "cpu")
    with Tape():
        _, means = learner.train_step(batch, learner.agent.initial(CONFIG.batch_size).state)
        with pytest.raises(AssertionError, match="waits"):
            means["critic"].item()


def test_bfloat16_is_for_products_only():
    """Parameters, gradients, states and losses stay float32; the numbers are near those of float32."""
    found = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        config = Config.preset("debug", precision=precision, imag_last=2)
        learner = Learner(Dreamer(config, Spaces(4, 2, True)))
        batch, start = make_batch(config, "cpu"), learner.agent.initial(config.batch_size).state
        with torch.random.fork_rng(), learner.autocast():
            torch.manual_seed(1)
            total, states, means = learner.weighted_loss(batch, start)
        total.backward()
        assert {total.dtype, states.h.dtype, states.z.dtype, *(value.dtype for value in means.values())} == {
            torch.float32
        }
        assert {p.grad.dtype for p in learner.optimizer.params()} == {torch.float32}
        found[precision] = means
    assert not torch.equal(found["float32"]["continue"], found["bfloat16"]["continue"])
    for name in ("reconstruction", "reward", "continue", "dyn", "rep", "critic"):
        torch.testing.assert_close(found["bfloat16"][name], found["float32"][name], rtol=0.1, atol=0.02)
    with pytest.raises(Refused, match="precision must be float32 or bfloat16, got 'half'"):
        Config(precision="half")


def test_a_step_is_taken_where_the_program_has_turned_gradients_off():
    plain = take(new())
    with torch.no_grad():
        assert all(map(torch.equal, take(new()), plain))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float32])
def test_flags_may_be_numbers(kind):
    """As other replay buffers keep them."""
    means, carries = [], []
    for flags in (torch.bool, kind):
        learner = new()
        torch.manual_seed(1)
        batch = make_batch(CONFIG, "cpu")
        batch = batch._replace(is_first=batch.is_first.to(flags), is_last=batch.is_last.to(flags))
        batch = batch._replace(is_terminal=batch.is_terminal.to(flags))
        start = learner.agent.initial(CONFIG.batch_size).state
        means.append(torch.stack(list(learner.train_step(batch, start)[1].values())))
        carry = learner.agent.initial(1)
        for t in range(3):
            carry = learner.agent.act(torch.ones(1, 4), torch.tensor([t == 0]).to(flags), carry)
        torch.manual_seed(2)
        start = learner.agent.initial(CONFIG.batch_size).state
        seen, _ = learner.agent.world_model.observe(batch.obs, batch.action, batch.is_first, start)
        carries += [carry.state.h, seen.h]
    assert torch.equal(*means) and torch.equal(*carries[::2]) and torch.equal(*carries[1::2])


def test_an_agent_takes_the_numbers_of_any_environment():
    learner = new()
    first, carries = torch.ones(1, dtype=torch.bool), []
    for kind in (torch.float32, torch.float64):
        carries.append(learner.agent.act(torch.ones(1, 4, dtype=kind), first, learner.agent.initial(1), greedy=True))
    assert torch.equal(*(carry.state.h for carry in carries))
    with pytest.raises(Refused, match="act needs observations as tensors, got ndarray"):
        learner.agent.act(np.ones((1, 4)), first, learner.agent.initial(1))
    large = torch.full((1, 4), 3e38)  # their sum is not finite
    for obs in (large, {"vector": torch.ones(1, 4)}, torch.ones(1, 4).bool(), torch.ones(1, 4).byte()):
        assert learner.agent.act(obs, first, learner.agent.initial(1)).action.shape == (1, 2)
    image = torch.full((1, 32, 32, 3), 7)
    agent = Dreamer(CONFIG, Spaces(0, 2, True, image=(32, 32, 3)))
    seen = [agent.act(obs, first, agent.initial(1), True) for obs in (image.byte(), image.float(), {"image": image})]
    assert all(torch.equal(carry.state.h, seen[0].state.h) for carry in seen)


@pytest.mark.parametrize(
    "obs, first, words",
    [
        (torch.ones(4), [1], r"act needs observations of shape {'vector': \(1, 4\)}.*; got {'vector': \(4,\)}"),
        (torch.ones(1, 3), [1], r"got {'vector': \(1, 3\)} and \(1,\)"),
        (torch.ones(4, 4), [1] * 4, r"since the carry is for 1; got {'vector': \(4, 4\)} and \(4,\)"),
        (torch.ones(1, 4), [1, 0], r"is_first of shape \(1,\).*; got .* and \(2,\)"),
        ({"vector": [[1.0] * 4]}, [1], "act needs observations as tensors, got list"),
        (torch.full((1, 4), 1e39, dtype=torch.float64), [1], "finite numbers; an observation holds NaN"),
        ({"numbers": torch.ones(1, 4)}, [1], "got {'numbers'"),
        (torch.full((1, 4), float("nan")), [1], "finite numbers; an observation holds NaN"),
        (torch.tensor([[1, 2, 3, float("inf")]]), [1], "finite numbers; an observation holds NaN"),
    ],
)
def test_an_agent_refuses_what_it_cannot_look_at(obs, first, words):
    """NaN became ordinary actions, since the latents are choices; four observations met the carry of one."""
    agent = new().agent
    with pytest.raises(Refused, match=words):
        agent.act(obs, torch.tensor(first).bool(), agent.initial(1))
    with pytest.raises(Refused, match="act needs is_first as a tensor, got bool"):
        agent.act(torch.ones(1, 4), True, agent.initial(1))


@pytest.mark.parametrize("image", [(), (64, 64, 3)])
def test_every_weight_counts(image):
    """Also those of second layers, where the default has one: each has a gradient."""
    layers = {name: 2 for name in vars(CONFIG) if name.endswith("_layers")}
    sizes = dict(deter=16, hidden=16, groups=4, classes=4, blocks=4, batch_size=4, seq_len=4, free_nats=0)
    config = Config.preset("debug", **sizes, **layers)
    torch.manual_seed(0)
    agent = Dreamer(config, Spaces(0 if image else 4, 2, True, image=image))
    for head in (agent.world_model.reward_head, agent.critic.net):  # their last layers begin with zeros
        for p in head.parameters():
            torch.nn.init.normal_(p, std=0.1)
    batch = make_batch(config, "cpu", agent.spaces)
    losses, _, _ = agent.loss(batch, agent.initial(config.batch_size).state)
    sum(loss.mean() for loss in losses.values()).backward()
    assert [name for name, p in agent.named_parameters() if p.requires_grad and not p.grad.abs().sum()] == []


def test_all_weights_are_initialised_and_biases_begin_with_zeros():
    torch.use_deterministic_algorithms(True)  # memory that is not initialised holds NaN then
    try:
        assert torch.empty(3).isnan().all()
        agent = Dreamer(CONFIG, Spaces(4, 2, True, image=(32, 32, 3)))
    finally:
        torch.use_deterministic_algorithms(False)
    for name, p in agent.named_parameters():
        assert p.isfinite().all() and (not name.endswith("bias") or not p.any()), name
    assert "world_model.encoder.image.convs.0.bias" in dict(agent.named_parameters())


def test_a_dream_has_a_step():
    agent = new().agent
    with pytest.raises(ValueError, match="a horizon of at least 1, got 0"):
        imagine(agent.world_model, agent.actor, agent.initial(2).state, 0)


def test_half_precision_is_bfloat16():
    """Float16 would overflow where bfloat16 only rounds."""
    with Learner(Dreamer(Config.preset("debug", precision="bfloat16"), CARTPOLE)).autocast():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
