"""What the adapters share: official weights in PyTorch's modules, and losses taken apart."""

from types import SimpleNamespace

import torch


class Anything(SimpleNamespace):
    """Stands for an object of which a function needs only these parts; called, it does what `call` says."""

    def __call__(self, *args, **named):
        return self.call(*args, **named)


def fill(module, weights, name):
    """A dense layer, a block-diagonal one (blocks, inputs, outputs) or a convolution of the official name."""
    kernel = weights[f"{name}_kernel"]
    if kernel.ndim == 4:
        kernel = kernel.permute(3, 2, 0, 1)
    elif kernel.ndim == 2:
        kernel = kernel.T
    assert module.weight.shape == kernel.shape, (name, module.weight.shape, kernel.shape)
    module.weight.data, module.bias.data = kernel.clone(), weights[f"{name}_bias"].clone()


def fill_layers(layers, weights, dense, norm):
    """[dense, norm, activation] repeated; dense and norm are patterns of names."""
    modules = [module for module in layers if hasattr(module, "weight")]
    for i, (linear, gain) in enumerate(zip(modules[::2], modules[1::2])):
        fill(linear, weights, dense.format(i))
        gain.weight.data = weights[norm.format(i) + "_scale"].clone()
    if len(modules) % 2:
        return modules[-1]


def identity(linear):
    """Make a dense layer hand on its inputs."""
    linear.weight.data, linear.bias.data = torch.eye(len(linear.weight)), torch.zeros(len(linear.weight))
    return linear


def path_of(optimizer_of, params, grads):
    """The parameters after each step of an optimizer, made of the list of parameters."""
    weights = {name: torch.nn.Parameter(value.clone()) for name, value in params.items()}
    optimizer, path = optimizer_of(list(weights.values())), []
    for k in range(len(next(iter(grads.values())))):
        for name, weight in weights.items():
            weight.grad = grads[name][k].clone()
        optimizer.step()
        path.append({name: weight.detach().clone() for name, weight in weights.items()})
    return {name: torch.stack([step[name] for step in path]) for name in weights}


def path_of_clipped_adam(params, grads, lr):
    """The same for PyTorch's Adam, after the gradients of all parameters are clipped together at a norm of 1,000."""

    def adam(weights):
        optimizer = torch.optim.Adam(weights, lr, eps=1e-8)

        def step():
            torch.nn.utils.clip_grad_norm_(weights, 1000.0)
            optimizer.step()

        return Anything(step=step)

    return path_of(adam, params, grads)


def straight_through(probs, noise):
    """The sample that the official arrays ask for: the likeliest class under the noise, with the gradient of probs."""
    index = (probs.log() + noise).argmax(-1)
    one_hot = torch.nn.functional.one_hot(index, probs.shape[-1]).to(probs.dtype)
    return one_hot + probs - probs.detach()
