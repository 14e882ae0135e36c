#!/usr/bin/env python3
"""Holds a training step to PyTorch: the same networks, weights and batch through both; loss, gradients and running statistics.

Packages:  pip install numpy torch
Use:       against_pytorch.py            compares all elements, and says the largest difference in every network
           against_pytorch.py --write    also writes crates/train/tests/pytorch.json, which the tests hold lissom to

PyTorch computes in f64: what is left is lissom's rounding in f32. Gradients that are zero but for rounding (the bias of keys: a
softmax does not see it) are held to the norm of all. Running variances are ONNX's, of the batch itself; PyTorch's estimate that of
the population, n / (n - 1) as much.

lissom's side is `cargo test -p lissom-train --test pytorch`, told to write its tensors to a folder.
"""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "crates/train/tests/pytorch.json"
N_ELEMENTS = 5
# Of the norm of each tensor: what sums in another order may differ by.
TOLERANCE = 1e-4


class Net:
    """The tensors of a network by lissom's names; layers change running statistics in place."""

    def __init__(self, arrays):
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        self.tensors = {name: x.double() if x.is_floating_point() else x for name, x in tensors.items()}
        self.used = {}

    def parameter(self, name):
        self.used[name] = self.tensors[name].requires_grad_()
        return self.used[name]

    def conv(self, x, name, stride=1, groups=1):
        weight = self.parameter(f"{name}.weight")
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)

    def batch_norm(self, x, name):
        batch = {"running_mean": x.detach().mean((0, 2, 3)), "running_var": x.detach().var((0, 2, 3), correction=0)}
        for what, value in batch.items():
            self.tensors[f"{name}.{what}"].lerp_(value, 0.1)
        scale, bias = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        return F.batch_norm(x, None, None, scale, bias, training=True, eps=1e-5)

    def layer_norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias"), 1e-6)

    def linear(self, x, name):
        return F.linear(x, self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias"))

    def words(self, x, name):
        return x @ self.parameter(f"{name}.weight") + self.parameter(f"{name}.bias")


def mlp(net, x):
    for name in ("linear1", "linear2"):
        x = F.relu(net.linear(x, name))
    return net.linear(x, "classifier")


def resnet(blocks, is_padded):
    def run(net, x):
        x = F.relu(net.batch_norm(net.conv(x, "conv1"), "bn1"))
        for stage in range(3):
            for block in range(blocks):
                name = f"layer{stage + 1}.{block}"
                halves = stage > 0 and block == 0
                y = F.relu(net.batch_norm(net.conv(x, f"{name}.conv1", 2 if halves else 1), f"{name}.bn1"))
                y = net.batch_norm(net.conv(y, f"{name}.conv2"), f"{name}.bn2")
                if halves and is_padded:
                    half = x.shape[1] // 2
                    x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, x.shape[1] - half))
                elif halves:
                    x = net.batch_norm(net.conv(x, f"{name}.shortcut.conv", 2), f"{name}.shortcut.bn")
                x = F.relu(y + x)
        return net.linear(x.mean((2, 3)), "classifier")

    return run


def mobilenet_v1(net, x):
    x = F.relu(net.batch_norm(net.conv(x, "conv1"), "bn1"))
    for pair, stride in enumerate([1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1], 1):
        x = net.conv(x, f"pair{pair}.positions", stride, groups=x.shape[1])
        x = F.relu(net.batch_norm(x, f"pair{pair}.bn1"))
        x = F.relu(net.batch_norm(net.conv(x, f"pair{pair}.channels"), f"pair{pair}.bn2"))
    return net.linear(x.mean((2, 3)), "classifier")


def vision_transformer(net, x):
    patches = net.parameter("patches.weight")
    x = F.conv2d(x, patches, net.parameter("patches.bias"), stride=patches.shape[-1])
    x = x.flatten(2).transpose(1, 2) + net.parameter("positions.weight")
    for block in ("block1", "block2"):
        y = net.layer_norm(x, f"{block}.norm1")
        heads = [net.words(y, f"{block}.attention.{what}") for what in ("query", "key", "value")]
        q, k, v = (head.unflatten(-1, (2, -1)).transpose(1, 2) for head in heads)
        mixed = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v
        x = x + net.words(mixed.transpose(1, 2).flatten(2), f"{block}.attention.output")
        y = net.words(net.layer_norm(x, f"{block}.norm2"), f"{block}.linear1")
        x = x + net.words(F.gelu(y), f"{block}.linear2")
    return net.linear(net.layer_norm(x, "norm").mean(1), "classifier")


# The names of `crates/train/tests/pytorch.rs`.
NETWORKS = {
    "mlp": mlp,
    "resnet20": resnet(3, True),
    "resnet8_conv": resnet(1, False),
    "mobilenet_v1": mobilenet_v1,
    "vision_transformer": vision_transformer,
}


def step(network, arrays):
    """PyTorch's loss, gradients and statistics, by lissom's names."""
    net = Net(arrays)
    loss = F.cross_entropy(network(net, net.tensors["input"]), net.tensors["labels"])
    loss.backward()
    results = {"loss": loss.detach()}
    results |= {f"gradient.{name}": tensor.grad for name, tensor in net.used.items()}
    statistics = [name for name in arrays if ".running_" in name and not name.startswith("statistic.")]
    return results | {f"statistic.{name}": net.tensors[name] for name in statistics}


def golden(tensor):
    """A norm, and elements at equal distances."""
    values = tensor.flatten()
    distance = -(-len(values) // N_ELEMENTS)
    rounded = [float(f"{value:.9g}") for value in values[::distance].tolist()]
    return {"norm": float(f"{values.norm():.9g}"), "elements": rounded}


def document(goldens):
    """JSON with a line for each tensor."""
    networks = []
    for name, tensors in goldens.items():
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in tensors.items())
        networks.append(f" {json.dumps(name)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(networks) + "\n}\n"


def main(arguments):
    goldens, is_right = {}, True
    with tempfile.TemporaryDirectory() as folder:
        command = ["cargo", "test", "--quiet", "--package", "lissom-train", "--test", "pytorch"]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"LISSOM_GRADIENTS": folder}, check=True, stdout=sys.stderr)
        for name, network in NETWORKS.items():
            arrays = dict(np.load(pathlib.Path(folder) / f"{name}.npz"))
            results = step(network, arrays)
            missing = {key for key in arrays if key.startswith(("gradient.", "statistic."))} ^ (results.keys() - {"loss"})
            if missing:
                sys.exit(f"{name}: only one of the two has {sorted(missing)}")
            floor = 1e-4 * sum(results[key].norm() ** 2 for key in results if key.startswith("gradient.")).sqrt()
            own = {key: torch.from_numpy(arrays[key]) for key in results}
            far = {key: ((own[key] - value).norm() / value.norm().clamp_min(floor)).item() for key, value in results.items()}
            worst = max(far, key=far.get)
            is_right &= far[worst] <= TOLERANCE
            print(f"{name}: {len(results)} tensors, the farthest {far[worst]:.1e} of its norm ({worst}), loss {results['loss']:.6f}")
            goldens[name] = {key: golden(value) for key, value in results.items()}
    if "--write" in arguments:
        GOLDENS.write_text(document(goldens))
    return 0 if is_right else 1


if __name__ == "__main__":
    if any(word != "--write" for word in sys.argv[1:]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
