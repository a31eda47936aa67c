"""The reference GAN in PyTorch: one seed at a time, as a textbook writes it, and many at once.

The first half is in the manner of Tariq Rashid, *Make Your First GAN With PyTorch* (2020), whose
first GAN this is: a class for each network, with its loss and its optimiser inside. The tests hold
this project's numbers against it. The second half is the same step as a pure function of the
parameters, which `torch.func.vmap` maps over seeds and `torch.compile` compiles, for the benchmark.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

LEARNING_RATE = 0.01
LOW, WIDTH = (0.8, 0.0, 0.8, 0.0), 0.2  # of the real samples' coordinates
LATENT = 0.5

Params = dict[str, Tensor]


def draw_real(*seeds: int, device: str = "cpu") -> Tensor:
    """Draw real samples, [*seeds, 4]."""
    return torch.tensor(LOW, device=device) + WIDTH * torch.rand(*seeds, 4, device=device)


# One seed at a time


class Discriminator(nn.Module):
    """D, 4-3-1: a sample [4] -> the belief [1] that it is real."""

    def __init__(self):
        """Draw the parameters."""
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid())
        self.loss = nn.MSELoss()
        self.optimizer = torch.optim.SGD(self.parameters(), lr=LEARNING_RATE)

    def forward(self, sample: Tensor) -> Tensor:
        """Judge a sample."""
        return self.model(sample)

    def learn(self, sample: Tensor, target: Tensor) -> Tensor:
        """Move towards answering the target [1] to the sample [4]; the loss before that."""
        loss = self.loss(self(sample), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Generator(nn.Module):
    """G, 1-3-4: a latent [1] -> a sample [4]."""

    def __init__(self):
        """Draw the parameters."""
        super().__init__()
        self.model = nn.Sequential(nn.Linear(1, 3), nn.Sigmoid(), nn.Linear(3, 4), nn.Sigmoid())
        self.optimizer = torch.optim.SGD(self.parameters(), lr=LEARNING_RATE)

    def forward(self, latent: Tensor) -> Tensor:
        """Make a sample."""
        return self.model(latent)

    def learn(self, discriminator: Discriminator, latent: Tensor, target: Tensor) -> Tensor:
        """Move towards samples that the discriminator answers the target [1] to; likewise."""
        loss = discriminator.loss(discriminator(self(latent)), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Record(NamedTuple):
    """The generator's output [4] after a step, and the losses [3] in it: D's two, and G's."""

    output: Tensor
    losses: Tensor


def train_step(discriminator: Discriminator, generator: Generator, real: Tensor) -> list[Tensor]:
    """One step: D on a real sample [4], D on a fake one, then G through the new D; the losses."""
    latent, one, zero = real.new_tensor([[LATENT], [1.0], [0.0]])
    return [
        discriminator.learn(real, one),
        discriminator.learn(generator(latent).detach(), zero),
        generator.learn(discriminator, latent, one),
    ]


def train(
    discriminator: Discriminator, generator: Generator, samples: Tensor, record_every: int = 10
) -> Record:
    """Train on real samples, [steps, 4]; a record every few steps, each leaf [records, ...]."""
    latent, records = samples.new_tensor([LATENT]), []
    for step, real in enumerate(samples, start=1):
        losses = train_step(discriminator, generator, real)
        if step % record_every == 0:
            records.append(Record(generator(latent).detach(), torch.stack(losses)))
    return Record(*map(torch.stack, zip(*records)))


# Many seeds at a time

D, G = Discriminator(), Generator()  # the formulas; the parameters come as arguments


def init_seeds(seeds: int, device: str = "cpu") -> tuple[Params, Params]:
    """The parameters of D and of G for many seeds, each leaf [seeds, ...], as `nn.Linear` draws."""

    def draw(network: nn.Module) -> Params:
        params = {}
        for name, value in network.named_parameters():
            weight = network.get_parameter(name.replace("bias", "weight"))
            noise = 2 * torch.rand(seeds, *value.shape, device=device) - 1
            params[name] = noise / weight.shape[1] ** 0.5
        return params

    return draw(D), draw(G)


def step_of_params(d: Params, g: Params, real: Tensor) -> tuple[Params, Params]:
    """`train_step` of one seed as a pure function: the new parameters of D and of G."""
    latent = real.new_full((1,), LATENT)

    def d_loss(d, sample, target):
        return ((functional_call(D, d, (sample,)) - target) ** 2).mean()

    def g_loss(g):
        return d_loss(d, functional_call(G, g, (latent,)), 1.0)

    d = descend(d, grad(d_loss)(d, real, 1.0))
    d = descend(d, grad(d_loss)(d, functional_call(G, g, (latent,)), 0.0))
    return d, descend(g, grad(g_loss)(g))


def descend(params: Params, gradient: Params) -> Params:
    """One step of gradient descent."""
    return {name: value - LEARNING_RATE * gradient[name] for name, value in params.items()}


def step_of_seeds(d: Params, g: Params, low: Tensor) -> None:
    """One step of every seed, in place, on real samples drawn here from `low` [4] on."""
    seeds = len(next(iter(d.values())))
    real = low + WIDTH * torch.rand(seeds, 4, device=low.device)
    for params, stepped in zip((d, g), vmap(step_of_params)(d, g, real)):
        for name, value in params.items():
            value.copy_(stepped[name])


def compile_step(d: Params, g: Params) -> Callable[[], object]:
    """Compile `step_of_seeds` for these parameters: a function that takes one step of theirs.

    On a GPU it replays a CUDA graph, so that a step is one launch of all its kernels.
    """
    low = torch.tensor(LOW, device=next(iter(d.values())).device)
    compiled = torch.compile(step_of_seeds, fullgraph=True, dynamic=False)
    step = partial(compiled, d, g, low)
    if not low.is_cuda:
        step()
        return step
    # What is captured has to have run before, on another stream than the current one.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def generate(g: Params) -> Tensor:
    """The output [seeds, 4] of every seed's generator."""
    latent = next(iter(g.values())).new_full((1,), LATENT)
    return vmap(lambda params: functional_call(G, params, (latent,)))(g)
