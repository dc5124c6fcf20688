"""Another right way to write the function of each exercise: in place, in float64, step by step, with loops."""

import numpy as np
import torch
import torch.nn.functional as F

from dreamer_lite.agent import Carry
from dreamer_lite.course.a1_break_it import small_dreamer
from dreamer_lite.imagination import Dream
from dreamer_lite.latents import sample as finished_sample
from dreamer_lite.latents import unimix as finished_unimix
from dreamer_lite.rssm import State
from dreamer_lite.symlog import symexp as finished_symexp
from dreamer_lite.symlog import symlog as finished_symlog
from dreamer_lite.two_hot import two_hot as finished_two_hot
from dreamer_lite.two_hot import two_hot_loss as finished_loss


def lean(angle):
    return torch.where(angle > 0, 1, 0)


def sizes(D, S, K):
    return [D], [S, K], [S * K + D]


def lets_go(real, dreamed, tolerance):
    for t in range(len(real)):
        if sum(abs(float(a) - float(b)) for a, b in zip(real[t], dreamed[t])) / real.shape[1] > tolerance:
            return t
    return len(real)


def previous_action(chosen, is_first):
    out = torch.zeros_like(chosen)
    out[:, 1:] = chosen[:, :-1]
    out[is_first] = 0
    return out


def goes_on(is_last, is_terminal):
    return 1 - is_terminal.double()


def cut(ring, oldest, ages, steps):
    straight = torch.cat([ring[oldest:], ring[:oldest]])
    return torch.stack([straight[a : a + steps] for a in ages.tolist()])


def symlog(x):
    return torch.where(x < 0, -torch.log1p(-x.clamp(max=0)), torch.log1p(x.clamp(min=0)))


def symexp(x):
    return torch.where(x < 0, -torch.expm1(-x.clamp(max=0)), torch.expm1(x.clamp(min=0)))


def symlog_loss(prediction, target):
    return (finished_symlog(target) - prediction) ** 2


def expose():
    return torch.tensor(-1e-3)


def two_hot_bins(count=255, limit=20.0):
    return finished_symexp(torch.linspace(-limit, limit, count))


def two_hot(x, bins):
    weights = torch.zeros(x.numel(), len(bins))
    for row, value in enumerate(x.flatten().clamp(bins[0], bins[-1]).tolist()):
        k = min(max(int((bins <= value).sum()) - 1, 0), len(bins) - 2)
        share = (value - float(bins[k])) / float(bins[k + 1] - bins[k])
        weights[row, k], weights[row, k + 1] = 1 - share, share
    return weights.view(*x.shape, len(bins))


def two_hot_mean(logits, bins):
    probs, n = F.softmax(logits, -1), len(bins)
    return sum((probs[..., n - 1 - i] - probs[..., i]) * bins[n - 1 - i] for i in range(n // 2))


def two_hot_loss(logits, x, bins):
    return torch.logsumexp(logits, -1) - (finished_two_hot(x, bins) * logits).sum(-1)


def unimix(logits, mix=0.01):
    e = (logits - logits.amax(-1, keepdim=True)).exp()
    return torch.lerp(e / e.sum(-1, keepdim=True), torch.full_like(logits, 1 / logits.shape[-1]), mix)


def sample(probs, noise=None):
    noise = -torch.log(-torch.log(torch.rand_like(probs))) if noise is None else noise
    z = F.one_hot((probs.log() + noise).argmax(-1), probs.shape[-1]).to(probs.dtype)
    return (z - probs).detach() + probs


def kl(p, q):
    return F.kl_div(q.log(), p, reduction="none").flatten(-2).sum(-1)


def entropy(p):
    return torch.distributions.Categorical(probs=p).entropy().sum(-1)


def gru(h, reset, candidate, update):
    u = 1 / (1 + torch.exp(1 - update))
    return u * torch.tanh(candidate * torch.sigmoid(reset)) + (1 - u) * h


def posterior(rssm, h, tokens):
    return rssm.posterior_net(torch.cat([h, tokens], dim=-1)).reshape(*h.shape[:-1], rssm.groups, rssm.classes)


def clear(state, action, is_first):
    h, z, action = state.h.clone(), state.z.clone(), action.clone()
    h[is_first], z[is_first], action[is_first] = 0, 0, 0
    return State(h, z), action


def observe(rssm, tokens, actions, is_first, start, noise=None):
    state, hs, zs, ls = start, [], [], []
    for t in range(tokens.shape[1]):
        (h, z), action = clear(state, actions[:, t], is_first[:, t])
        h = rssm.recurrent(State(h, z), action)
        logits = rssm.posterior(h, tokens[:, t])
        z = finished_sample(finished_unimix(logits), None if noise is None else noise[:, t])
        state = State(h, z)
        hs, zs, ls = [*hs, h], [*zs, z], [*ls, logits]
    return State(torch.stack(hs, 1), torch.stack(zs, 1)), torch.stack(ls, 1)


def kl_losses(posterior, prior, free_nats=1.0):
    frozen = posterior.clone().detach(), prior.clone().detach()
    pairs = (frozen[0], prior), (posterior, frozen[1])
    return [torch.maximum((q * (q / p).log()).sum((-1, -2)), torch.tensor(free_nats)) for q, p in pairs]


def continue_target(is_terminal, discount_horizon=333):
    return (1 - is_terminal.float()) * (1 - 1 / discount_horizon)


def prediction_losses(world_model, feature, batch):
    guess, logit = world_model.decoder(feature), world_model.continue_head(feature)[..., 0]
    target = continue_target(batch.is_terminal, world_model.discount_horizon)
    log_probs = F.log_softmax(world_model.reward_head(feature), -1)
    return {
        "continue": -(target * F.logsigmoid(logit) + (1 - target) * F.logsigmoid(-logit)),
        "reward": -(finished_two_hot(batch.reward, world_model.bins) * log_probs).sum(-1),
        "reconstruction": ((guess - finished_symlog(batch.obs)) ** 2).sum(-1),
    }


def fit(world_model, optimizer, batch, scales):
    optimizer.zero_grad()
    losses = world_model.loss(batch, world_model.rssm.initial(batch.obs.shape[0]))[0]
    total = torch.stack([scales[name] * loss.mean() for name, loss in losses.items()]).sum()
    total.backward()
    optimizer.step()
    return total.data.clone()


@torch.no_grad()
def imagine(world_model, actor, start, horizon):
    state, features, actions = start, [start.feature], []
    for _ in range(horizon):
        actions.append(actor(features[-1]).sample())
        state = world_model.rssm.imagine_step(state, actions[-1])
        features.append(state.feature)
    actions.append(actor(features[-1]).sample())
    features, actions = torch.stack(features, 1), torch.stack(actions, 1)
    return Dream(
        world_model.rssm.state(features),
        features,
        actions,
        world_model.predict_reward(features),
        world_model.predict_continue(features),
    )


def dream_along(world_model, start, actions):
    features = []
    for action in actions.transpose(0, 1):
        start = world_model.rssm.imagine_step(start, action)
        features.append(start.feature)
    return finished_symexp(world_model.decoder(torch.stack(features, dim=1)))


def step_weights(continues):
    weights, running = [], torch.ones(len(continues))
    for t in range(continues.shape[1] - 1):
        running = running * continues[:, t]
        weights.append(running)
    return torch.stack(weights, 1)


def lambda_return(rewards, continues, values, bootstrap, lam=0.95):
    lam = torch.as_tensor(lam, dtype=rewards.dtype).expand_as(rewards)
    returns = torch.zeros_like(rewards)
    for t in range(rewards.shape[1] - 1, -1, -1):
        later = returns[:, t + 1] if t + 1 < rewards.shape[1] else bootstrap
        returns[:, t] = rewards[:, t] + continues[:, t] * ((1 - lam[:, t]) * values[:, t] + lam[:, t] * later)
    return returns


def dream_returns(rewards, continues, values, lam=0.95):
    found, last = [], values[:, -1]
    for t in range(rewards.shape[1] - 1, 0, -1):
        last = rewards[:, t] + continues[:, t] * ((1 - lam) * values[:, t] + lam * last)
        found.insert(0, last)
    return torch.stack(found, 1)


def critic_loss(logits, returns, slow_values, bins, weights):
    log_probs, slow_values = F.log_softmax(logits[:, :-1], -1), slow_values[:, :-1]
    target = finished_two_hot(returns, bins) + finished_two_hot(slow_values, bins)
    return -weights * (target * log_probs).sum(-1)


def log_prob(policy, action):
    return policy.log_probs.gather(-1, action.argmax(-1, keepdim=True)).squeeze(-1)


def update(return_scale, returns):
    low, high = (returns.flatten().quantile(float(level)) for level in return_scale.levels)
    rate = return_scale.rate
    return_scale.range = (1 - rate) * return_scale.range + rate * torch.stack([low, high])
    return torch.maximum(torch.tensor(return_scale.limit), return_scale.range.diff()[0])


def advantages(returns, values, scale):
    return returns / scale - values[:, : returns.shape[1]] / scale


def actor_loss(log_probs, entropies, advantages, weights, entropy_scale=3e-4):
    with torch.no_grad():
        weights, push = weights.clone(), weights * advantages
    return -(push * log_probs) - entropy_scale * weights * entropies


@torch.no_grad()
def act(agent, obs, is_first, carry, greedy=False):
    model = agent.world_model
    (h, z), _ = model.rssm.observe(
        model.encoder(obs).unsqueeze(1), carry.action.unsqueeze(1), is_first.unsqueeze(1), carry.state
    )
    state = State(h.squeeze(1), z.squeeze(1))
    choice = agent.actor(state.feature)
    return Carry(state, choice.mode) if greedy else Carry(state, choice.sample())


def steps_due(env_steps, ratio, batch, length):
    return int(env_steps * ratio) // (batch * length)


def solved_at(rows, threshold):
    for row in rows:
        if row[2] >= threshold:
            return row[0]


def dream_losses(agent, dream):
    logits = agent.critic(dream.features)
    value = agent.critic.value(logits)
    found = {"value": value, "weight": step_weights(dream.continues)}
    after = dream.rewards[:, 1:], dream.continues[:, 1:], value[:, 1:]
    found["imagined_return"] = lambda_return(*after, value[:, -1], lam=agent.config.lam)
    found["return_scale"] = agent.return_scale.update(found["imagined_return"])
    found["advantage"] = (found["imagined_return"] - value[:, :-1]) / found["return_scale"]
    policy = agent.actor(dream.features[:, :-1])
    found["policy_entropy"] = policy.entropy()
    bonus = agent.config.entropy * policy.entropy()
    actor = -found["weight"] * (found["advantage"] * policy.log_prob(dream.actions[:, :-1]) + bonus)
    slow, bins = agent.critic.slow_value(dream.features)[:, :-1], agent.critic.bins
    critic = sum(finished_loss(logits[:, :-1], target, bins) for target in (found["imagined_return"], slow))
    return {"critic": critic * found["weight"], "actor": actor}, found


def to_network(image):
    *front, height, width, channels = image.shape
    x = image.reshape(-1, height, width, channels)
    return torch.stack([x[..., c] for c in range(channels)], 1) / 255.0 - 0.5


def layer_cost(height, width, inputs, channels, kernel):
    conv = torch.nn.Conv2d(inputs, channels, kernel)
    return sum(p.numel() for p in conv.parameters()), conv.weight.numel() * height * width


def project(decoder, feature):
    height, width, channels = decoder.small
    h, z = feature.split([decoder.deter, feature.shape[-1] - decoder.deter], -1)
    parts = decoder.from_h(h).chunk(decoder.bspace, -1)
    painted = torch.cat([part.reshape(len(feature), height, width, -1) for part in parts], -1)
    return decoder.from_z(z).reshape(painted.shape) + painted


def picture_loss(prediction, image):
    return F.mse_loss(prediction, image.float() / 255, reduction="sum") / (image.shape[0] * image.shape[1])


def torque_terms(policy, action):
    normal = torch.distributions.Normal(policy.mode, policy.std)
    return normal.log_prob(action).sum(-1), normal.entropy().sum(-1)


def action_pairs(obs, action, is_first, shift):
    good = [t for t in range(1, len(obs) - 1) if not any(is_first[t - 1 : t + 2].tolist())]
    return obs[[t - 1 for t in good]], torch.diff(obs, dim=0)[[t - 1 for t in good]], action[[t + shift for t in good]]


def real_returns(rewards, values, is_last, is_terminal, gamma):
    found = torch.zeros(len(rewards), rewards.shape[1] - 1)
    for i in range(len(rewards)):
        for t in range(found.shape[1]):
            if is_last[i, t]:
                continue
            total, discount, s = 0.0, 1.0, t
            while True:
                s += 1
                total += discount * rewards[i, s].item()
                discount *= gamma
                if is_terminal[i, s]:
                    break
                if is_last[i, s] or s == rewards.shape[1] - 1:
                    total += discount * values[i, s].item()
                    break
            found[i, t] = total
    return found


def tally(healthy, sick, low, high):
    alarms = [[not low <= x <= high and x == x for x in group.tolist()] for group in (sick, healthy)]
    return sum(alarms[0]), alarms[0].count(False), sum(alarms[1])


def diagnoses():
    return {"B": 9, "C": 4, "D": 0, "E": 6, "F": 3, "G": 10, "H": 8}


def to_bounds(action, low, high):
    middle, half = (low + high) / 2, (high - low) / 2
    return torch.maximum(torch.minimum(middle + action * half, high), low)


def reset(world, seed=None, options=None):
    super(type(world), world).reset(seed=seed)
    world.drop()
    world.caught = 0
    return np.array(world.look()), {"why": "new game"}


def step(world, action):
    if world.row == 0:
        world.drop()
        return world.look(), 0.0, False, False, {}
    world.paddle = world.paddle + (action - 1 if world.row < 4 else 0)
    world.row = world.row - 1
    if world.row > 0:
        return world.look(), 0.0, False, False, {}
    caught = bool(world.paddle == world.ball)
    if caught:
        world.caught += 1
    return world.look(), 1.0 * caught, not caught, world.caught >= world.balls, {}


def causes():
    return {"C": "forgetful", "B": "curious", "A": "sluggish"}


def mended():
    def gates(h, reset, candidate, update):
        u = torch.sigmoid(update - 1)
        return h + u * (torch.tanh(candidate * torch.sigmoid(reset)) - h)

    def returns(rewards, continues, values, bootstrap, lam=0.95):
        out, after = torch.zeros_like(rewards), bootstrap
        for t in range(rewards.shape[1] - 1, -1, -1):
            after = out[:, t] = rewards[:, t] + continues[:, t] * torch.lerp(values[:, t], after, lam)
        return out

    def scale(batches, rate, limit, low, high):
        ends = small_dreamer.return_scale(batches, rate, limit, low, high)
        return [torch.clamp(end, min=limit) for end in ends]

    return {"lambda_return": returns, "gru": gates, "return_scale": scale}
