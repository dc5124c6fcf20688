"""Encoders and decoders, one pair per kind of observation, chosen in one place (notebook 06)."""

from torch import Tensor, nn

from .nets import MLP, Linear
from .symlog import symexp, symlog


class VectorEncoder(MLP):
    """symlog(observation) → tokens, (..., O) → (..., hidden). Official: `dreamerv3/rssm.py: Encoder`."""

    def __init__(self, *, obs_size: int, hidden: int, layers: int):
        super().__init__(inputs=obs_size, hidden=hidden, layers=layers)
        self.token_size = hidden

    def forward(self, obs: Tensor) -> Tensor:
        return super().forward(symlog(obs))


class VectorDecoder(nn.Sequential):
    """Feature → predicted symlog(observation), (..., F) → (..., O). Official: `dreamerv3/rssm.py: Decoder`.

    Gotcha: the prediction stays in symlog space; `read` gives an observation. The official decoder reads [z, h] where
    every other head reads [h, z]; here all read [h, z], the same function with its input columns in another order.
    """

    def __init__(self, *, feature_size: int, obs_size: int, hidden: int, layers: int):
        super().__init__(MLP(inputs=feature_size, hidden=hidden, layers=layers), Linear(hidden, obs_size))

    def loss(self, prediction: Tensor, obs: Tensor) -> Tensor:
        """Squared error in symlog space, summed over the observation, without a factor 1/2: (..., O) → (...). Paper: Eq. 8."""
        return (prediction - symlog(obs)).square().sum(-1)

    def read(self, prediction: Tensor) -> Tensor:
        """The predicted observation in its own units, (..., O) → (..., O)."""
        return symexp(prediction)


def make_codec(
    *, obs_size: int, feature_size: int, hidden: int, encoder_layers: int, decoder_layers: int
) -> tuple[VectorEncoder, VectorDecoder]:
    """The encoder and decoder for a kind of observation. There is one kind so far; a new one is chosen here."""
    return (
        VectorEncoder(obs_size=obs_size, hidden=hidden, layers=encoder_layers),
        VectorDecoder(feature_size=feature_size, obs_size=obs_size, hidden=hidden, layers=decoder_layers),
    )
