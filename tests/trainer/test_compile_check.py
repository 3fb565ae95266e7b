"""A compiled network is used only where it learns what the plain one would."""

import pytest
import torch

from trainer.compile_check import CompileError, refuse_other_gradients


class Network(torch.nn.Module):
    """Two layers; `deaf` cuts the gradient of the first, as a wrong compilation did to attention."""

    def __init__(self, deaf: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.deaf = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), deaf

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.first(inputs).relu()
        return self.second(hidden.detach() if self.deaf else hidden)


def networks(deaf: bool) -> tuple[Network, Network]:
    torch.manual_seed(0)
    plain, compiled = Network(), Network(deaf)
    compiled.first, compiled.second = plain.first, plain.second
    return plain, compiled


def loss_of(network: torch.nn.Module) -> torch.Tensor:
    return network(torch.ones(4, 8)).pow(2).mean()


def test_equal_gradients_pass_and_leave_nothing_behind():
    plain, compiled = networks(deaf=False)
    refuse_other_gradients(loss_of, plain, compiled, dict(plain.named_parameters()))
    assert all(weight.grad is None for weight in plain.parameters())


def test_a_network_that_gives_a_layer_no_gradient_is_refused_by_the_layers_name():
    plain, compiled = networks(deaf=True)
    with pytest.raises(CompileError, match=r"first\.weight .*Leave --compile out"):
        refuse_other_gradients(loss_of, plain, compiled, dict(plain.named_parameters()))
