#!/usr/bin/env python3
"""Trains a network in PyTorch when told to, so that `cargo xtask train-bench` can alternate it with lissom.

Use:  train_worker.py NETWORK BATCH THREADS [bf16]

The networks are those of `crates/train/src/architectures`, with the same loss and optimizer; what PyTorch has a faster way for
(attention in one call, queries, keys and values by one product, SGD in one kernel) it does that way. With bf16 it runs forward under
autocast. Says what `worker.py` says:
a line of JSON after two steps, then answers each line `run SECONDS` with a JSON list of the seconds of each step.
"""
import json
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from worker import reset_peak, status_bytes, timed


class Block(nn.Module):
    """Two 3×3 convolutions; where the size halves, the shortcut takes every second pixel and pads channels with zeros."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.stride, self.missing = (1 if c_in == c_out else 2), c_out - c_in
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, self.stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.stride == 2:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing // 2, self.missing - self.missing // 2))
        return F.relu(self.bn2(self.conv2(y)) + x, inplace=True)


def resnet20() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    c_in = 16
    for c_out in (16, 32, 64):
        for _ in range(3):
            layers.append(Block(c_in, c_out))
            c_in = c_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp() -> nn.Module:
    hidden = [nn.Linear(784, 1024), nn.ReLU(inplace=True), nn.Linear(1024, 1024), nn.ReLU(inplace=True)]
    return nn.Sequential(*hidden, nn.Linear(1024, 10))


class Layer(nn.Module):
    """Norm, attention; norm, two layers with GELU between them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.inner, self.outer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, words, width = x.shape
        qkv = self.inner(self.norm1(x)).view(n, words, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.outer(mixed.transpose(1, 2).reshape(n, words, width))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Transformer(nn.Module):
    """`vision_transformer` on images of 32 × 64: 128 words of 256."""

    def __init__(self, width: int = 256, depth: int = 4, heads: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 128, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(depth)))
        self.norm, self.classifier = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        words = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.classifier(self.norm(self.layers(words)).mean(1))


# Network and the shape of a sample.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet20": (resnet20, (3, 32, 32)),
    "mlp": (mlp, (784,)),
    "transformer": (Transformer, (3, 32, 64)),
}


def load(network: str, batch: int, is_bf16: bool) -> Callable[[], float]:
    make, shape = NETWORKS[network]
    torch.manual_seed(0)
    model, x = make().train(), torch.rand(batch, *shape) * 2 - 1
    if len(shape) == 3:
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) * 31 % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main(network: str, batch: int, threads: int, is_bf16: bool) -> None:
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    reset_peak()
    before, start = status_bytes("VmRSS"), time.perf_counter()
    step = load(network, batch, is_bf16)
    step()
    load_ms = 1e3 * (time.perf_counter() - start)
    step()
    engine, peak_bytes = f"PyTorch {torch.__version__.split('+')[0]}", status_bytes("VmHWM") - before
    print(json.dumps({"engine": engine, "load_ms": load_ms, "peak_bytes": peak_bytes}), flush=True)
    for line in sys.stdin:
        match line.split():
            case ["run", seconds]:
                print(json.dumps(timed(step, float(seconds))), flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or sys.argv[4:] not in ([], ["bf16"]):
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), len(sys.argv) == 5)
