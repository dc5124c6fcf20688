"""danijar/dreamerv3 at commit e3f0224, in float32: the control, whose numbers these are."""

from contextlib import contextmanager
from unittest.mock import patch

from dreamerv3 import agent as agents
from dreamerv3 import rssm as worlds
import elements
from embodied.jax import heads, nets, opt, outs, utils
from embodied.jax.nets import symexp, symlog  # noqa: F401
import jax
import jax.numpy as jnp
import ninjax as nj
import numpy as np
import optax

jax.config.update("jax_default_matmul_precision", "highest")
nets.COMPUTE_DTYPE = jnp.float32
ARRAYS = "jax"
NOTES = {
    "gru": "inside RSSM._core; see recurrent",
    "continue_target": "inside Agent.loss",
    "agent": "its arrays come from this code; not run again here",
}


def run(function, params=None, prefix="x"):
    """Call a function that uses ninjax modules, with these parameters."""
    params = {f"{prefix}/{name}": value for name, value in (params or {}).items()}
    return nj.pure(function)(params, seed=jax.random.PRNGKey(0), create=True)[1]


def slashed(weights):
    return {
        name.replace("_kernel", "/kernel").replace("_bias", "/bias").replace("_scale", "/scale"): value
        for name, value in weights.items()
    }


def head(kind, x, **settings):
    """The distribution that a head makes of its outputs: its linear layer hands them on."""
    space = elements.Space(np.float32, settings.pop("shape", ()))
    with patch.object(nets.Linear, "__call__", lambda layer, given: x[layer.name.split("/")[-1]]):
        return run(lambda: heads.Head(space, kind, name="x", **settings)(jnp.zeros((*x["like"].shape[:-1], 1))))


def bins_of(count=255):
    made = {"logits": jnp.zeros((1, count)), "like": jnp.zeros((1, 1))}
    return head("symexp_twohot", made, bins=count).bins


def two_hot_bins(count):
    return bins_of(count)


def two_hot(x, bins):
    """Its target, read off the gradient of its loss at equal logits."""
    loss = lambda logits: outs.TwoHot(logits, bins).loss(x).sum()
    return 1 / len(bins) - jax.grad(loss)(jnp.zeros((*x.shape, len(bins))))


def two_hot_mean(logits, bins):
    return outs.TwoHot(logits, bins).pred()


def two_hot_loss(logits, x, bins):
    return outs.TwoHot(logits, bins).loss(x)


def unimix(logits, mix):
    return jax.nn.softmax(outs.Categorical(logits, mix).logits, -1)


def entropy(p):
    return outs.Agg(outs.OneHot(jnp.log(p)), 1, jnp.sum).entropy()


@contextmanager
def drawn(noise):
    """Inside, classes are the argmax of ln p + noise, which is how they are drawn."""
    with patch.object(outs.Categorical, "sample", lambda dist, *_: jnp.argmax(dist.logits + noise, -1)):
        yield


def sample(probs, noise):
    with drawn(noise):
        return outs.OneHot(jnp.log(probs)).sample(None)


def kl(p, q):
    return outs.Agg(outs.OneHot(jnp.log(p)), 1, jnp.sum).kl(outs.Agg(outs.OneHot(jnp.log(q)), 1, jnp.sum))


def losses(posterior, prior, free_nats, mix):
    """RSSM.loss of a model with these logits."""
    model = lambda: worlds.RSSM(
        {}, name="x", stoch=posterior.shape[-2], classes=posterior.shape[-1], unimix=mix, free_nats=free_nats
    )
    with (
        patch.object(worlds.RSSM, "observe", lambda *_: (None, None, {"deter": None, "logit": posterior})),
        patch.object(worlds.RSSM, "_prior", lambda *_: prior),
    ):
        found = run(lambda: model().loss(None, None, None, None, True)[2])
    return found["dyn"], found["rep"]


def kl_losses(posterior, prior, free_nats):
    return losses(jnp.log(posterior), jnp.log(prior), free_nats, 0.0)


def kl_loss(posterior_logits, prior_logits):
    dyn, rep = losses(posterior_logits, prior_logits, 1.0, 0.01)
    return dyn.mean() + 0.1 * rep.mean()  # loss_scales in configs.yaml


def rms_norm(x, gain):
    return run(lambda: nets.Norm("rms", name="x")(x), {"scale": gain})


def model_of(weights, groups, actions):
    deter, hidden = (
        weights["dynin0_kernel"].shape
        if "dynin0_kernel" in weights
        else (weights["prior0_kernel"].shape if "prior0_kernel" in weights else (0, 0))
    )
    latent = weights["dynin1_kernel"].shape[0]
    space = {"action": elements.Space(np.float32, (actions,))}
    sizes = dict(deter=deter, hidden=hidden, stoch=groups, classes=latent // groups)
    return worlds.RSSM(space, **sizes, act="silu", blocks=len(weights["dyngru_kernel"]), name="x")


def recurrent(weights, h, z, action):
    model = lambda: model_of(weights, z.shape[-2], action.shape[-1])
    return run(lambda: model()._core(h, z, action), slashed(weights))


def prior(weights, h, groups):
    return run(lambda: model_of(weights, groups, 1)._prior(h), slashed(weights))


def posterior(weights, h, tokens, groups):
    """The logits of one step of observe, whose recurrent step gives this h."""
    size = h.shape[0]
    latent = weights["dynin1_kernel"].shape[0]
    start = {"deter": h, "stoch": jnp.zeros((size, groups, latent // groups))}
    action, first = {"action": jnp.zeros((size, 1))}, jnp.zeros(size, bool)
    with patch.object(worlds.RSSM, "_core", lambda *_: h):
        step = lambda: model_of(weights, groups, 1).observe(start, tokens, action, first, True, single=True)
        return run(step, slashed(weights))[2]["logit"]


def observe(weights, tokens, actions, is_first, h, z, noise):
    carry, path = {"deter": h, "stoch": z}, []
    for t in range(tokens.shape[1]):
        model = lambda: model_of(weights, z.shape[-2], actions.shape[-1])
        inputs = tokens[:, t], {"action": actions[:, t]}, is_first[:, t]
        with drawn(noise[:, t]):
            carry, _, made = run(lambda: model().observe(carry, *inputs, True, single=True), slashed(weights))
        path.append((made["deter"], made["stoch"], made["logit"]))
    return tuple(jnp.stack(part, 1) for part in zip(*path))


def imagine(weights, h, z, actions, noise):
    carry, path = {"deter": h, "stoch": z}, []
    for t in range(actions.shape[1]):
        model = lambda: model_of(weights, z.shape[-2], actions.shape[-1])
        with drawn(noise[:, t]):
            step = lambda: model().imagine(carry, {"action": actions[:, t]}, 1, True, single=True)
            carry, _ = run(step, slashed(weights))
        path.append((carry["deter"], carry["stoch"]))
    return tuple(jnp.stack(part, 1) for part in zip(*path))


def vector_loss(prediction, target):
    made = {"pred": prediction, "like": prediction}
    return head("symlog_mse", made, shape=prediction.shape[-1:]).loss(target)


def image_loss(prediction, image):
    return outs.Agg(outs.MSE(prediction), 3, jnp.sum).loss(image.astype(jnp.float32) / 255)


def image_encoder(weights, image):
    mults = tuple(weights[f"cnn{i}_kernel"].shape[-1] for i in range(2))
    spaces = {"image": elements.Space(np.uint8, image.shape[-3:])}
    sizes = dict(depth=1, mults=mults, kernel=weights["cnn0_kernel"].shape[0], act="silu")
    reset = jnp.zeros(image.shape[:2], bool)
    return run(
        lambda: worlds.Encoder(spaces, **sizes, name="x")({}, {"image": image}, reset, True)[2], slashed(weights)
    )


def image_decoder(weights, h, z, height, width):
    mults = weights["imgout_kernel"].shape[-2], weights["conv0_kernel"].shape[-2]
    spaces = {"image": elements.Space(np.uint8, (height, width, weights["imgout_kernel"].shape[-1]))}
    sizes = dict(
        depth=1, mults=mults, kernel=weights["imgout_kernel"].shape[0], units=weights["sp1_kernel"].shape[1] // 2
    )
    made = lambda: worlds.Decoder(spaces, **sizes, act="silu", bspace=len(weights["sp0_kernel"]), name="x")
    reset = jnp.zeros(h.shape[:2], bool)
    return run(lambda: made()({}, {"deter": h, "stoch": z}, reset, True)[2]["image"].pred(), slashed(weights))


def lambda_return(rewards, continues, values, bootstrap, lam):
    """Its arrays begin with the first state, whose reward and continue it doesn't read; λ is inside `last`."""
    rewards, continues, values = (jnp.concatenate([x[:, :1], x], 1) for x in (rewards, continues, values))
    last = jnp.zeros_like(continues)
    if jnp.ndim(lam):
        last, lam = jnp.concatenate([last[:, :1], 1 - lam / 0.95], 1), 0.95
    return agents.lambda_return(last, 1 - continues, rewards, values, values, 1, lam)


def replay_return(rewards, is_last, is_terminal, bootstrap):
    return agents.lambda_return(is_last, is_terminal, rewards, bootstrap, bootstrap, 1 - 1 / 333, 0.95)


class Given:
    """A distribution or a normaliser of which these parts are read."""

    def __init__(self, **parts):
        self.__dict__ |= parts

    def __call__(self, *_):
        return self.stats()


PLAIN = Given(stats=lambda: (0.0, 1.0))


def imagined(con, value=None, slow=None, policy=None, scale=1.0, actent=3e-4, returns=None):
    zeros = jnp.zeros_like(con)
    value = value or Given(pred=lambda: zeros, loss=lambda target: zeros)
    slow = slow or Given(pred=lambda: zeros)
    policy = policy or Given(logp=lambda action: zeros, entropy=lambda: zeros)
    given = (lambda *_: returns) if returns is not None else agents.lambda_return
    with patch.object(agents, "lambda_return", given):
        return run(
            lambda: agents.imag_loss(
                {"action": zeros},
                zeros,
                con,
                {"action": policy},
                value,
                slow,
                Given(stats=lambda: (0.0, scale)),
                PLAIN,
                PLAIN,
                True,
                slowtar=False,
                actent=actent,
            )
        )


def weights_to_continues(weights):
    """Continues of which these weights are the products; one more step, which isn't trained on."""
    ones = jnp.ones_like(weights[:, :1])
    return jnp.concatenate([weights / jnp.concatenate([ones, weights[:, :-1]], 1), ones], 1)


def one_more(x):
    return jnp.concatenate([x, jnp.zeros_like(x[:, :1])], 1)


def step_weights(continues):
    """The weights of a loss of 1 at each step."""
    policy = Given(logp=lambda action: jnp.zeros_like(continues), entropy=lambda: -jnp.ones_like(continues))
    return imagined(continues, policy=policy, actent=1.0)[0]["policy"]


def advantages(returns, values, scale):
    """Read off the loss of a log-probability of -1."""
    value = Given(pred=lambda: values, loss=lambda target: jnp.zeros_like(values))
    policy = Given(logp=lambda action: -jnp.ones_like(values), entropy=lambda: jnp.zeros_like(values))
    ones = jnp.ones_like(values)
    return imagined(ones, value, policy=policy, scale=scale, returns=returns, actent=0.0)[0]["policy"]


def actor_loss(log_probs, entropies, advantages, weights, entropy_scale):
    policy = Given(logp=lambda action: one_more(log_probs), entropy=lambda: one_more(entropies))
    con = weights_to_continues(weights)
    return imagined(con, policy=policy, returns=advantages, actent=entropy_scale)[0]["policy"]


def critic_loss(logits, returns, slow_values, weights, bins):
    con = weights_to_continues(weights)
    slow = Given(pred=lambda: slow_values)
    return imagined(con, outs.TwoHot(logits, bins), slow, returns=returns)[0]["value"]


def replay_critic_loss(logits, slow_values, rewards, is_last, is_terminal, bootstrap, bins):
    slow = Given(pred=lambda: slow_values)
    return agents.repl_loss(
        is_last, is_terminal, rewards, bootstrap, outs.TwoHot(logits, bins), slow, PLAIN, slowtar=False
    )[0]["repval"]


def return_scale(batches, rate, limit, low, high):
    settings = dict(rate=rate, limit=limit, perclo=100 * low, perchi=100 * high, debias=False)

    def all_steps():
        norm = utils.Normalize("perc", **settings, name="x")
        return jnp.stack([norm(batch, True)[1] for batch in batches])

    return run(all_steps)


def categorical(logits, action):
    space = elements.Space(np.int32, (), 0, logits.shape[-1])
    with patch.object(nets.Linear, "__call__", lambda layer, given: logits):
        policy = run(
            lambda: heads.Head(space, "categorical", unimix=0.01, name="x")(jnp.zeros((*logits.shape[:-1], 1)))
        )
    return policy.logp(jnp.argmax(action, -1)), policy.entropy()


def bounded_normal(mean, std, action):
    made = {"mean": mean, "stddev": std, "like": mean}
    policy = head("bounded_normal", made, shape=mean.shape[-1:], minstd=0.1, maxstd=1.0)
    return policy.logp(action), policy.entropy()


def laprop(params, grads, lr, warmup):
    """The chain of Agent._make_opt."""
    ramp = optax.linear_schedule(0.0, lr, int(warmup))
    parts = opt.clip_by_agc(0.3), opt.scale_by_rms(0.999, 1e-20), opt.scale_by_momentum(0.9)
    chain = optax.chain(*parts, optax.scale_by_learning_rate(ramp))
    state, path = chain.init(params), []
    for k in range(len(next(iter(grads.values())))):
        updates, state = chain.update({name: value[k] for name, value in grads.items()}, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return {name: jnp.stack([step[name] for step in path]) for name in params}


def slow_critic(online, rate):
    class Weight(nj.Module):
        def __init__(self, *_):
            pass

        def __call__(self):
            return self.value("w", jnp.zeros, online[0].shape)

    def all_steps():
        source = Weight(name="fast")
        source()
        source.write("w", online[0])
        slow, path = utils.SlowModel(Weight(name="slow"), source=source, rate=rate), []
        path.append(slow())
        for weight in online[1:]:
            source.write("w", weight)
            slow.update()
            path.append(slow())
        return jnp.stack(path)

    return run(all_steps)


def initialise(shape, scale):
    return run(lambda: nets.Initializer("trunc_normal", "in", scale)(shape))
