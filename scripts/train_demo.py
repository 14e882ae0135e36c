#!/usr/bin/env python3
"""Train the network that lissom carries for its demonstrations, and write every file that goes with it.

The network is a residual CNN with 14 weighted layers, trained on Fashion-MNIST (28x28 grey images of ten kinds of
clothing). It is small on purpose: 176 thousand parameters, 20 million multiply-accumulates an image, so that the whole
test set can be run again and again on two CPU cores while a network is being compressed.

Packages:  pip install torch numpy onnx onnxruntime     (a CPU is enough; about 15 minutes on two cores)
Data:      the four idx .gz files of Fashion-MNIST in one folder. On Debian: `apt install dataset-fashion-mnist`, then
           /usr/share/datasets/fashion-mnist; else from https://github.com/zalandoresearch/fashion-mnist.
Use:       train_demo.py --data FOLDER --out crates/cli/assets

The last epoch's weights are the ones written: no checkpoint is picked by its test accuracy. With the same seed,
thread count, machine and package versions the weights come out the same.
"""
import argparse
import gzip
import pathlib
import struct
import time

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64)  # channels of the three stages
BLOCKS = 2  # residual blocks in each stage
CLASSES = 10
SCALE, MEAN, STD = 255.0, 0.2860, 0.3530  # a pixel enters the network as (byte / SCALE - MEAN) / STD
SHIFT = 2  # augmentation: whole pixels an image may move in each direction
PER_CLASS = 100  # calibration images taken from each class of the training set


def read_idx(path):
    """The array held in an idx .gz file of unsigned bytes."""
    raw = gzip.decompress(pathlib.Path(path).read_bytes())
    zero, kind, rank = struct.unpack(">HBB", raw[:4])
    if zero != 0 or kind != 0x08:
        raise ValueError(f"{path}: not an idx file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def write_idx(path, array):
    """Write an array of unsigned bytes as an idx .gz file that does not depend on the time of day."""
    head = struct.pack(">HBB", 0, 0x08, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    pathlib.Path(path).write_bytes(gzip.compress(head + array.tobytes(), compresslevel=9, mtime=0))


def normalized(images):
    """Bytes [N,28,28] as network input [N,1,28,28]."""
    return ((images.astype(np.float32) / np.float32(SCALE) - np.float32(MEAN)) / np.float32(STD))[:, None]


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.ModuleDict(
                {"conv": nn.Conv2d(inputs, outputs, 1, stride, bias=False), "bn": nn.BatchNorm2d(outputs)}
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.shortcut is not None:
            x = self.shortcut["bn"](self.shortcut["conv"](x))
        return F.relu(x + y)


class Network(nn.Module):
    """Stem, three stages of residual blocks, global average, one linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.ModuleDict(
            {"conv": nn.Conv2d(1, WIDTHS[0], 3, 1, 1, bias=False), "bn": nn.BatchNorm2d(WIDTHS[0])}
        )
        inputs = WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            blocks = nn.ModuleDict()
            for index in range(BLOCKS):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks[f"block{index}"] = Block(inputs, width, stride)
                inputs = width
            self.add_module(f"stage{stage + 1}", blocks)
        self.fc = nn.Linear(WIDTHS[-1], CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.relu(self.stem["bn"](self.stem["conv"](x)))
        for stage in range(len(WIDTHS)):
            for block in getattr(self, f"stage{stage + 1}").values():
                x = block(x)
        return self.fc(x.mean((2, 3)))


def augmented(padded, rows, generator):
    """A batch cut from images padded by SHIFT: each moved at random, and mirrored with probability one half."""
    count, size = len(rows), padded.shape[-1] - 2 * SHIFT
    move = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator)
    mirror = torch.randint(0, 2, (count, 1), generator=generator).bool()
    steps = torch.arange(size)[None]
    down = steps + move[0]
    right = torch.where(mirror, steps.flip(1), steps) + move[1]
    return padded[rows[:, None, None], down[:, :, None], right[:, None, :]][:, None]


def train(images, labels, epochs, batch, rate, decay, smoothing, seed):
    """Train by SGD with Nesterov momentum under a one-cycle rate; gives the network in evaluation mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    # The border is what a black pixel becomes, not zero: a moved image uncovers more background.
    border = (SHIFT,) * 4
    padded = F.pad(torch.from_numpy(normalized(images)), border, value=-MEAN / STD)[:, 0]
    targets = torch.from_numpy(labels.astype(np.int64))
    network = Network().to(memory_format=torch.channels_last).train()
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]  # biases, scales and shifts are not decayed
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}],
        lr=rate,
        momentum=0.9,
        nesterov=True,
    )
    batches = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * batches, pct_start=0.2, cycle_momentum=False, final_div_factor=1e3
    )
    start = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        loss_sum = hits = 0.0
        for step in range(batches):
            rows = order[step * batch : (step + 1) * batch]
            x = augmented(padded, rows, generator).contiguous(memory_format=torch.channels_last)
            logits = network(x)
            loss = F.cross_entropy(logits, targets[rows], label_smoothing=smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
            hits += (logits.argmax(1) == targets[rows]).sum().item()
        accuracy = f"{100 * hits / (batches * batch):.2f} %"
        seconds = f"{time.monotonic() - start:.0f} s"
        print(f"epoch {epoch + 1:2}/{epochs}  loss {loss_sum / batches:.4f}  train {accuracy}  {seconds}", flush=True)
    return network.eval()


class OnnxWriter:
    """Collects nodes and weights; each node's single output is named after it."""

    def __init__(self, state):
        self.state = {name: tensor.detach().numpy() for name, tensor in state.items()}
        self.nodes, self.weights = [], []

    def weight(self, source, name):
        values = np.ascontiguousarray(self.state[source], np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind, name, inputs, output=None, **attributes):
        output = output or f"{name}.out"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def conv(self, name, x, stride=1):
        weight = self.weight(f"{name}.weight", f"{name}.weight")
        size = self.state[f"{name}.weight"].shape[-1]
        return self.node(
            "Conv", name, [x, weight], kernel_shape=[size, size], strides=[stride, stride], pads=[size // 2] * 4
        )

    def norm(self, name, x):
        parts = (("weight", "scale"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "var"))
        inputs = [x] + [self.weight(f"{name}.{ours}", f"{name}.{theirs}") for ours, theirs in parts]
        return self.node("BatchNormalization", name, inputs, epsilon=1e-5)


def write_onnx(network, path):
    """Write the network as ONNX (opset 17, IR 8, dynamic batch `N`, batch normalization kept as nodes)."""
    writer = OnnxWriter(network.state_dict())
    x = writer.norm("stem.bn", writer.conv("stem.conv", "input"))
    x = writer.node("Relu", "stem.relu", [x])
    for stage in range(len(WIDTHS)):
        for index in range(BLOCKS):
            name = f"stage{stage + 1}.block{index}"
            stride = 2 if stage > 0 and index == 0 else 1
            y = writer.norm(f"{name}.bn1", writer.conv(f"{name}.conv1", x, stride))
            y = writer.node("Relu", f"{name}.relu1", [y])
            y = writer.norm(f"{name}.bn2", writer.conv(f"{name}.conv2", y))
            if f"{name}.shortcut.conv.weight" in writer.state:
                x = writer.norm(f"{name}.shortcut.bn", writer.conv(f"{name}.shortcut.conv", x, stride))
            x = writer.node("Add", f"{name}.add", [y, x])
            x = writer.node("Relu", f"{name}.relu2", [x])
    x = writer.node("GlobalAveragePool", "pool", [x])
    x = writer.node("Flatten", "flatten", [x], axis=1)
    parts = [writer.weight("fc.weight", "fc.weight"), writer.weight("fc.bias", "fc.bias")]
    writer.node("Gemm", "fc", [x, *parts], output="logits", transB=1)
    graph = helper.make_graph(
        writer.nodes,
        "fashion_resnet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        writer.weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="lissom scripts/train_demo.py"
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def evaluate(path, images, labels):
    """Right answers over a test set, computed by ONNX Runtime; prints the share of each class."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = []
    for start in range(0, len(images), 500):
        answers.append(session.run(["logits"], {"input": normalized(images[start : start + 500])})[0].argmax(1))
    right = np.concatenate(answers) == labels
    for label in range(CLASSES):
        print(f"class {label}: {100 * right[labels == label].mean():.1f} %")
    print(f"test: {right.sum()} of {len(labels)} right, {100 * right.mean():.2f} %")


def calibration_rows(labels):
    """Rows of the first PER_CLASS examples of every class, in the order of the training set."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:PER_CLASS] for label in range(CLASSES)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of the four idx .gz files")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.2, help="highest learning rate of the cycle")
    parser.add_argument("--decay", type=float, default=5e-4, help="weight decay")
    parser.add_argument("--smoothing", type=float, default=0.05, help="label smoothing")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="train on the first LIMIT images only, for a quick trial")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)

    images = read_idx(options.data / "train-images-idx3-ubyte.gz")
    labels = read_idx(options.data / "train-labels-idx1-ubyte.gz")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = calibration_rows(labels)
    write_idx(options.out / "calibration-images-idx3-ubyte.gz", images[rows])
    write_idx(options.out / "calibration-labels-idx1-ubyte.gz", labels[rows])

    network = train(
        images[: options.limit],
        labels[: options.limit],
        options.epochs,
        options.batch,
        options.rate,
        options.decay,
        options.smoothing,
        options.seed,
    )
    path = options.out / "fashion_resnet.onnx"
    write_onnx(network, path)
    test_images = read_idx(options.data / "t10k-images-idx3-ubyte.gz")
    test_labels = read_idx(options.data / "t10k-labels-idx1-ubyte.gz")
    evaluate(path, test_images, test_labels)
    write_idx(options.out / "t10k-images-idx3-ubyte.gz", test_images)
    write_idx(options.out / "t10k-labels-idx1-ubyte.gz", test_labels)


if __name__ == "__main__":
    main()
