"""Laws that hold for all inputs."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from dreamer_lite.actor import BoundedNormal, Categorical, ReturnScale
from dreamer_lite.codecs import VectorDecoder, VectorEncoder
from dreamer_lite.critic import lambda_return
from dreamer_lite.latents import entropy, kl, sample, softmax, unimix
from dreamer_lite.nets import BlockLinear, Conv, DoublingConv
from dreamer_lite.optim import LaProp
from dreamer_lite.rssm import RSSM, State
from dreamer_lite.symlog import symexp, symlog
from dreamer_lite.two_hot import two_hot, two_hot_bins, two_hot_loss, two_hot_mean
from dreamer_lite.world_model import kl_losses

BINS = two_hot_bins()
seeds = st.integers(0, 2**31 - 1)
settings.register_profile("quick", max_examples=30, deadline=None, derandomize=True)
settings.load_profile("quick")


@given(st.floats(-80, 80))
def test_symlog_undoes_symexp(x):
    x = torch.tensor(x, dtype=torch.float64)
    torch.testing.assert_close(symlog(symexp(x)), x, rtol=1e-9, atol=1e-12)
    assert symlog(-x) == -symlog(x)


@given(st.floats(-4e8, 4e8), st.floats(-4e8, 4e8))
def test_symlog_keeps_order(x, y):
    low, high = sorted((x, y))
    assert symlog(torch.tensor(low)) <= symlog(torch.tensor(high))


@given(st.floats(-1e9, 1e9))
def test_two_hot_has_two_neighbours_and_the_right_mean(x):
    x = torch.tensor(x, dtype=torch.float64)
    bins = BINS.double()
    weights = two_hot(x, bins)
    (used,) = weights.nonzero(as_tuple=True)
    assert (weights >= 0).all() and len(used) in (1, 2)
    assert len(used) == 1 or used[1] == used[0] + 1
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(weights @ bins, x.clamp(bins[0], bins[-1]), rtol=1e-9, atol=1e-9)


@given(seeds, st.floats(0.1, 30))
def test_two_hot_mean_of_mirrored_logits_is_the_mirrored_mean(seed, scale):
    logits = scale * torch.randn(255, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    bins = BINS.double()
    mean, mirrored = two_hot_mean(logits, bins), two_hot_mean(logits.flip(0), bins)
    torch.testing.assert_close(mirrored, -mean, rtol=1e-9, atol=1e-3)
    torch.testing.assert_close(mean, logits.softmax(-1) @ bins, rtol=1e-9, atol=1e-3)


@given(st.floats(-50, 50))
def test_constant_logits_mean_exactly_zero(level):
    assert two_hot_mean(torch.full((7, 255), level), BINS).eq(0).all()


@given(seeds)
def test_two_hot_loss_is_the_cross_entropy(seed):
    g = torch.Generator().manual_seed(seed)
    logits, x = torch.randn(5, 255, generator=g), 100 * torch.randn(5, generator=g)
    torch.testing.assert_close(two_hot_loss(logits, x, BINS), -(two_hot(x, BINS) * logits.log_softmax(-1)).sum(-1))


@pytest.mark.parametrize("shape", [(4, 1), (4, 5, 1), (5,), (1, 5), (4, 4)])
def test_two_hot_loss_refuses_targets_that_are_not_one_for_each_row(shape):
    with pytest.raises(ValueError, match="one number for each row"):
        two_hot_loss(torch.zeros(4, 5, 255), torch.zeros(shape), BINS)


def test_two_hot_loss_shows_a_target_that_is_not_a_number():
    assert two_hot_loss(torch.zeros(1, 255), torch.tensor([float("nan")]), BINS).isnan().all()


def logits_pair(seed, scale):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(4, 3, 5, generator=g), scale * torch.randn(4, 3, 5, generator=g)


@pytest.mark.parametrize("classes", [1, 4, 15, 16, 33])
def test_softmax_is_the_same_for_short_and_long_axes(classes):
    logits = 5 * torch.randn(2, 3, classes, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(softmax(logits), logits.softmax(-1))
    assert softmax(logits).is_contiguous()


@given(seeds, st.floats(0, 100))
def test_unimix_keeps_a_floor(seed, scale):
    probs = unimix(logits_pair(seed, scale)[0], 0.01)
    assert (probs >= 0.01 / 5 * 0.999).all()
    torch.testing.assert_close(probs.sum(-1), torch.ones(4, 3))


@pytest.mark.parametrize("mix", [0, 1e-60])
@pytest.mark.parametrize("scale", [1, 1000])
def test_without_unimix_nothing_is_lost_where_softmax_is_zero(scale, mix):
    a, b = (x.requires_grad_() for x in logits_pair(0, scale))
    p, q = unimix(a, mix), unimix(b, mix)
    torch.testing.assert_close(p, a.softmax(-1))
    if scale == 1:
        torch.testing.assert_close(kl(p, q), (p * (a.log_softmax(-1) - b.log_softmax(-1))).sum((-2, -1)))
    else:
        assert a.softmax(-1).eq(0).any()
    (kl(p, q) + entropy(p)).sum().backward()
    assert all(x.isfinite().all() for x in (kl(p, q), entropy(p), a.grad, b.grad))


@given(seeds, st.floats(0, 30))
def test_kl_is_not_negative_and_zero_between_equals(seed, scale):
    p, q = (unimix(x) for x in logits_pair(seed, scale))
    assert (kl(p, q) >= -1e-5).all()
    assert kl(p, p).eq(0).all()
    uniform = torch.full_like(p, 1 / 5)
    torch.testing.assert_close(kl(p, uniform), 3 * np.log(5) - entropy(p), rtol=1e-4, atol=1e-4)


@given(seeds)
def test_sample_is_one_hot_and_has_the_gradient_of_the_probabilities(seed):
    torch.manual_seed(seed)
    logits, weight = (x.requires_grad_() for x in logits_pair(seed, 2))
    drawn = sample(unimix(logits))
    assert drawn.sum(-1).eq(1).all() and ((drawn == 0) | (drawn == 1)).all()
    (straight,) = torch.autograd.grad((drawn * weight.detach()).sum(), logits)
    (direct,) = torch.autograd.grad((unimix(logits) * weight.detach()).sum(), logits)
    torch.testing.assert_close(straight, direct)


def test_samples_are_distributed_as_the_probabilities():
    torch.manual_seed(0)
    probs = unimix(torch.randn(2, 6))
    for noise in (None, "gumbel"):
        many = probs.expand(20_000, 2, 6)
        gumbel = -torch.log(-torch.rand_like(many).log()) if noise else None
        share = sample(many, gumbel).mean(0)
        assert (share - probs).abs().max() < 0.015


@given(seeds, st.floats(0, 1), st.integers(1, 12))
def test_lambda_return_is_the_weighted_sum_of_all_bootstraps(seed, lam, horizon):
    g = torch.Generator().manual_seed(seed)
    rewards, continues, values = (torch.rand(3, horizon, generator=g, dtype=torch.float64) for _ in range(3))
    expected = torch.zeros(3, horizon, dtype=torch.float64)
    for t in range(horizon):
        remaining = horizon - t
        for n in range(1, remaining + 1):  # the n-step return from t
            total, discount = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
            for i in range(t, t + n):
                total += discount * rewards[:, i]
                discount = discount * continues[:, i]
            total += discount * values[:, t + n - 1]
            weight = lam ** (n - 1) * (1 if n == remaining else 1 - lam)
            expected[:, t] += weight * total
    torch.testing.assert_close(lambda_return(rewards, continues, values, values[:, -1], lam), expected)


@given(seeds)
def test_free_nats_leave_no_gradient_below_the_limit(seed):
    post, prior = (x.requires_grad_() for x in logits_pair(seed, 0.2))
    dyn, rep = kl_losses(unimix(post), unimix(prior), free_nats=1.0)
    assert dyn.eq(1).all() and rep.eq(1).all()
    assert all(g.eq(0).all() for g in torch.autograd.grad((dyn + rep).sum(), (post, prior)))


@given(seeds)
def test_dyn_moves_the_prior_and_rep_the_posterior(seed):
    post, prior = (x.requires_grad_() for x in logits_pair(seed, 5))
    dyn, rep = kl_losses(unimix(post), unimix(prior), free_nats=0.0)
    for loss, moved, fixed in ((dyn, prior, post), (rep, post, prior)):
        moved_grad, fixed_grad = torch.autograd.grad(
            loss.sum(), (moved, fixed), retain_graph=True, materialize_grads=True, allow_unused=True
        )
        assert moved_grad.abs().sum() > 0 and fixed_grad.eq(0).all()


def small_rssm():
    torch.manual_seed(0)
    return RSSM(token_size=6, action_size=2, deter=8, hidden=5, groups=3, classes=4, blocks=2)


def run(rssm, tokens, actions, is_first, noise):
    states, logits = rssm.observe(tokens, actions, is_first, rssm.initial(len(tokens)), noise)
    return torch.cat([states.feature, logits.flatten(-2)], -1)


@given(seeds, st.integers(1, 6))
def test_nothing_leaks_across_an_episode_border(seed, border):
    rssm, g = small_rssm(), torch.Generator().manual_seed(seed)
    tokens, actions = torch.randn(2, 7, 6, generator=g), torch.randn(2, 7, 2, generator=g)
    noise = torch.randn(2, 7, 3, 4, generator=g)
    is_first = torch.zeros(2, 7, dtype=torch.bool)
    is_first[:, border] = True
    before = run(rssm, tokens, actions, is_first, noise)
    tokens[:, :border] += 1
    actions[:, : border + 1] += 1  # the reset row's own action means nothing either
    after = run(rssm, tokens, actions, is_first, noise)
    assert torch.equal(before[:, border:], after[:, border:])
    assert not torch.equal(before[:, :border], after[:, :border])


@given(seeds, st.integers(0, 6))
def test_the_past_does_not_see_the_future(seed, t):
    rssm, g = small_rssm(), torch.Generator().manual_seed(seed)
    tokens, actions = torch.randn(2, 7, 6, generator=g), torch.randn(2, 7, 2, generator=g)
    noise, is_first = torch.randn(2, 7, 3, 4, generator=g), torch.zeros(2, 7, dtype=torch.bool)
    before = run(rssm, tokens, actions, is_first, noise)
    tokens[:, t] += 1
    after = run(rssm, tokens, actions, is_first, noise)
    assert torch.equal(before[:, :t], after[:, :t]) and torch.equal(
        before[:, t, :8], after[:, t, :8]
    )  # h_t has not seen x_t
    assert not torch.equal(before[:, t, 8:], after[:, t, 8:])
    if t:
        actions[:, t] += 1
        assert not torch.equal(run(rssm, tokens, actions, is_first, noise)[:, t, :8], after[:, t, :8])


def test_a_feature_is_taken_apart_again():
    rssm = small_rssm()
    state = State(torch.randn(5, 8), torch.randn(5, 3, 4))
    again = rssm.state(state.feature)
    assert torch.equal(state.h, again.h) and torch.equal(state.z, again.z)


@given(st.sampled_from([1, 2, 4]), st.sampled_from([0, 3]), seeds)
def test_block_linear_is_a_linear_layer_with_a_block_diagonal_weight(blocks, shared, seed):
    torch.manual_seed(seed)
    layer = BlockLinear(inputs=8, outputs=12, blocks=blocks, shared=shared)
    x, extra = torch.randn(5, 8), torch.randn(5, shared)
    own = 8 // blocks
    expected = torch.cat(
        [torch.cat([x[:, b * own : (b + 1) * own], extra], -1) @ layer.weight[:, b] for b in range(blocks)], -1
    )
    torch.testing.assert_close(layer(x, extra if shared else None), expected + layer.bias)


@given(
    kernel=st.integers(2, 7),
    sparse=st.booleans(),
    high=st.integers(1, 5),
    wide=st.integers(1, 5),
    seed=st.integers(0, 100),
)
def test_doubling_at_once_is_doubling_and_then_a_convolution(kernel, sparse, high, wide, seed):
    torch.manual_seed(seed)
    at_once, plain, small = (
        DoublingConv(2, 3, kernel, sparse).double(),
        Conv(2, 3, kernel).double(),
        torch.randn(2, high, wide, 2).double(),
    )
    plain.load_state_dict(at_once.state_dict())
    plain.bias.data = at_once.bias.data = torch.randn(3).double()
    large = torch.zeros(2, 2 * high, 2 * wide, 2).double()
    for row, column in [(1, 1)] if sparse else [(0, 0), (0, 1), (1, 0), (1, 1)]:
        large[:, row::2, column::2] = small
    torch.testing.assert_close(at_once(small), plain(large))


@given(seeds)
def test_policies_agree_with_pytorch(seed):
    torch.manual_seed(seed)
    logits, mean, std = torch.randn(4, 5), torch.randn(4, 3), torch.randn(4, 3)
    ours, theirs = Categorical(logits), torch.distributions.OneHotCategorical(logits=logits)
    action = theirs.sample()
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    normal = BoundedNormal(mean, std)
    theirs = torch.distributions.Independent(torch.distributions.Normal(normal.mode, normal.std), 1)
    action = normal.sample()
    torch.testing.assert_close(normal.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(normal.entropy(), theirs.entropy())
    assert (normal.std > 0.1).all() and (normal.std < 1).all()


@given(seeds, st.floats(0, 1e6))
def test_return_scale_is_never_below_its_limit(seed, size):
    scale = ReturnScale()
    returns = size * torch.randn(50, generator=torch.Generator().manual_seed(seed))
    values = [scale.update(returns) for _ in range(3)]
    assert all(value >= 1 for value in values) and values[0] <= values[1] <= values[2]


@given(seeds, st.floats(1e-6, 1e6))
def test_clipped_gradients_keep_their_direction_and_a_bounded_norm(seed, size):
    torch.manual_seed(seed)
    params = [torch.nn.Parameter(torch.randn(3, 4)), torch.nn.Parameter(torch.zeros(5))]
    optimizer = LaProp([(params, 1e-3)])
    gradients = [size * torch.randn_like(p) for p in params]
    for p, gradient in zip(params, gradients):
        p.grad += gradient
    optimizer.clip_gradients()
    for p, gradient in zip(params, gradients):
        assert p.grad.norm() <= 0.3 * p.norm().clamp(min=1e-3) * 1.0001
        torch.testing.assert_close(p.grad / p.grad.norm(), gradient / gradient.norm())


def test_the_three_learning_rates_move_their_own_group():
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
    optimizer = LaProp([([p], rate) for p, rate in zip(params, (0.1, 0.0, 0.01))], warmup=0)
    for p in params:
        p.grad += 0.01
    optimizer.step()
    torch.testing.assert_close(torch.stack([1 - p.detach()[0] for p in params]), torch.tensor([0.1, 0.0, 0.01]))


# 1 of 4, two numbers, two yes or no, 1 of 2, and twice 1 of 3.
CHOICES = dict(obs_size=16, hidden=6, layers=1, choices=((0, 4), (6, 1), (7, 1), (8, 2), (10, 3), (13, 3)))


def test_choices_in_an_observation_are_learned_as_officially():
    """The numbers of the official `heads.Head`, "categorical" and "symlog_mse": 0.3692 is its loss of option 2 with
    these logits, 0.2014 and 0.4032 of a yes with logit 1.5 and a no with -0.7, beside a no with 0."""
    decoder = VectorDecoder(feature_size=3, **CHOICES)
    more = torch.tensor([[1.0, 0, 0, 0, 1, 0, 1, 0], [0, 1, 1, 0, 0, 0, 0, 1]])
    obs = torch.tensor([[0, 0, 1, 0, 1.5, -3, 1, 0], [0, 1, 0, 0, 1.5, -3, 1, 0]])
    logits = torch.tensor([[0.3, -1.2, 2, 0.5], [0, 0, 0, 0]])
    numbers, flags, others = torch.tensor([0.5, -1.0]), torch.tensor([1.5, -0.7]), torch.randn(2, 8)
    prediction = torch.cat([logits, numbers.expand(2, 2), flags.expand(2, 2), others], -1)
    nats, error = torch.tensor([0.3691993, 1.3862944]) + 0.20141333 + 0.40318608, (numbers - symlog(obs[0, 4:6])) ** 2
    groups = [slice(0, 2), slice(2, 5), slice(5, 8)]
    rest = -sum((others[:, group].log_softmax(-1) * more[:, group]).sum(-1) for group in groups)
    torch.testing.assert_close(decoder.loss(prediction, torch.cat([obs, more], -1)), nats + error.sum() + rest)
    read = decoder.read(prediction)
    torch.testing.assert_close(read[:, :4], logits.softmax(-1))
    torch.testing.assert_close(read[:, 4:6], symexp(numbers).expand(2, 2))
    torch.testing.assert_close(read[:, 6:8], flags.sigmoid().expand(2, 2))
    torch.testing.assert_close(read[:, 8:], torch.cat([others[:, group].softmax(-1) for group in groups], -1))


def test_choices_in_an_observation_are_seen_as_they_are():
    """Official: `embodied/jax/nets.py: DictConcat` squashes numbers, not one-hots."""
    torch.manual_seed(0)
    encoder, plain = VectorEncoder(**CHOICES), VectorEncoder(**{**CHOICES, "choices": ()})
    plain.load_state_dict(encoder.state_dict())  # an agent of version 0.3.0 fits
    obs = torch.tensor([[0, 0, 1, 0, 1.5, -3, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0]])
    squashed = torch.cat([obs[:, :4], symlog(obs[:, 4:6]), obs[:, 6:]], -1)
    torch.testing.assert_close(encoder(obs), plain(symexp(squashed)))
