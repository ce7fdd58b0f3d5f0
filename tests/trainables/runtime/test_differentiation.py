"""Second derivatives of attention."""

import torch
from torch.nn import functional as F

from trainables.runtime.differentiation import twice_differentiable


def test_attention_has_the_second_derivative_that_differences_show():
    q, k, v = torch.rand(3, 1, 2, 4, 8, generator=torch.Generator().manual_seed(0)).unbind()
    q.requires_grad_(True)

    def slope(at):
        with twice_differentiable():
            loss = F.scaled_dot_product_attention(at, k, v).square().sum()
        return torch.autograd.grad(loss, at, create_graph=True)[0]

    (bent,) = torch.autograd.grad(slope(q).sum(), q)
    step = 1e-2
    along = (slope(q + step).sum() - slope(q - step).sum()) / (2 * step)
    torch.testing.assert_close(bent.sum(), along, rtol=1e-2, atol=1e-3)
