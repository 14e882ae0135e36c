#!/usr/bin/env python3
"""Makes the networks that `cargo xtask peers` measures: real shapes, random weights, batch norm folded away.

Use:  networks.py FOLDER FILE...     makes the files that are not there yet

A FILE is NETWORK-FORM.onnx (float), NETWORK-FORM-int8.onnx (QDQ, by ONNX Runtime) or NETWORK-FORM-nncf.xml (by NNCF, for
OpenVINO), e.g. resnet50-sp90-int8.onnx.
Networks:  resnet50, mobilenetv1, resnet20, minilm6 and bertbase (128 tokens), mlp; the batch is left open.
Forms:     dense; sp80, sp90, sp95: this share of each layer's weights is 0, the smallest ones; blk90: the same in groups of
           4 inputs; oblk90: of 4 outputs; 2of4: the 2 smaller of every 4 inputs. First convolutions and depthwise ones stay
           dense. What is left is scaled up so that activations keep their size.
"""
import math
import pathlib
import sys
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKENS, VOCABULARY = 128, 30522


def kept(weight: np.ndarray, form: str) -> np.ndarray:
    """Which of a layer's weights stay. `weight` is [outputs, inputs], a convolution's inputs ordered (row, column, channel)."""
    size = np.abs(weight)
    n_out, n_in = size.shape
    if form.startswith("sp"):
        return size > np.quantile(size, int(form[2:]) / 100)
    if form.startswith("blk") and n_in % 4 == 0:
        groups = size.reshape(n_out, n_in // 4, 4).sum(2)
        return np.repeat(groups > np.quantile(groups, int(form[3:]) / 100), 4, axis=1)
    if form.startswith("oblk") and n_out % 4 == 0:
        groups = size.reshape(n_out // 4, 4, n_in).sum(1)
        return np.repeat(groups > np.quantile(groups, int(form[4:]) / 100), 4, axis=0)
    if form == "2of4" and n_in % 4 == 0:
        rank = size.reshape(n_out, n_in // 4, 4).argsort(2).argsort(2)
        return (rank >= 2).reshape(n_out, n_in)
    return np.ones(size.shape, bool)


def pruned(weight: np.ndarray, form: str) -> np.ndarray:
    mask = kept(weight, form)
    return (weight * mask / math.sqrt(mask.mean())).astype(np.float32)


class Network:
    """Nodes one after the other; every method returns the name of the value it made."""

    def __init__(self, form: str):
        self.form, self.rng = form, np.random.default_rng(2024)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def noise(self, *shape: int, scale: float) -> np.ndarray:
        return (scale * self.rng.standard_normal(shape)).astype(np.float32)

    def constant(self, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, f"constant{len(self.constants)}"))
        return self.constants[-1].name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def node(self, op: str, *inputs: str, **attributes) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, c_in: int, c_out: int, kernel: int, stride=1, groups=1, gain=2.0, relu=True, prune=True) -> str:
        taps = kernel * kernel
        weight = self.noise(c_out, c_in // groups * taps, scale=math.sqrt(gain / (c_in // groups * taps)))
        if prune and groups == 1:
            weight = pruned(weight, self.form)
        weight = weight.reshape(c_out, kernel, kernel, c_in // groups).transpose(0, 3, 1, 2)
        parameters = self.constant(np.ascontiguousarray(weight)), self.constant(self.noise(c_out, scale=0.01))
        pads = [kernel // 2] * 4
        x = self.node("Conv", x, *parameters, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=groups)
        return self.node("Relu", x) if relu else x

    def gemm(self, x: str, n_in: int, n_out: int, gain=1.0) -> str:
        weight = pruned(self.noise(n_out, n_in, scale=math.sqrt(gain / n_in)), self.form)
        return self.node("Gemm", x, self.constant(weight), self.constant(self.noise(n_out, scale=0.01)), transB=1)

    def linear(self, x: str, n_in: int, n_out: int) -> str:
        weight = pruned(self.noise(n_out, n_in, scale=math.sqrt(1 / n_in)), self.form)
        x = self.node("MatMul", x, self.constant(np.ascontiguousarray(weight.T)))
        return self.node("Add", x, self.constant(self.noise(n_out, scale=0.01)))

    def classifier(self, x: str, channels: int, classes: int) -> str:
        return self.gemm(self.node("Flatten", self.node("GlobalAveragePool", x)), channels, classes)

    def model(self, output: str, inputs: dict[str, list], n_out: list, dtype=TensorProto.FLOAT) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        given = [value(name, dtype, ["N", *shape]) for name, shape in inputs.items()]
        answer = [value(output, TensorProto.FLOAT, ["N", *n_out])]
        graph = helper.make_graph(self.nodes, "network", given, answer, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def resnet50(form: str) -> onnx.ModelProto:
    network = Network(form)
    x = network.conv("input", 3, 64, 7, stride=2, prune=False)
    x = network.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            y = network.conv(x, channels, width, 1)
            y = network.conv(y, width, width, 3, stride=stride)
            y = network.conv(y, width, 4 * width, 1, gain=0.3, relu=False)
            if block == 0:
                x = network.conv(x, channels, 4 * width, 1, stride=stride, gain=1.0, relu=False)
            x, channels = network.node("Relu", network.node("Add", y, x)), 4 * width
    return network.model(network.classifier(x, channels, 1000), {"input": [3, 224, 224]}, [1000])


def resnet20(form: str) -> onnx.ModelProto:
    network = Network(form)
    x, channels = network.conv("input", 3, 16, 3, prune=False), 16
    for stage, width in enumerate([16, 32, 64]):
        for block in range(3):
            stride = 2 if stage > 0 and block == 0 else 1
            y = network.conv(x, channels, width, 3, stride=stride)
            y = network.conv(y, width, width, 3, gain=0.5, relu=False)
            if stride == 2:
                x = network.conv(x, channels, width, 1, stride=2, gain=1.0, relu=False)
            x, channels = network.node("Relu", network.node("Add", y, x)), width
    return network.model(network.classifier(x, channels, 10), {"input": [3, 32, 32]}, [10])


def mobilenetv1(form: str) -> onnx.ModelProto:
    network = Network(form)
    x, channels = network.conv("input", 3, 32, 3, stride=2, prune=False), 32
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + 5 * [(512, 1)] + [(1024, 2), (1024, 1)]
    for c_out, stride in blocks:
        x = network.conv(x, channels, channels, 3, stride=stride, groups=channels)
        x, channels = network.conv(x, channels, c_out, 1), c_out
    return network.model(network.classifier(x, channels, 1000), {"input": [3, 224, 224]}, [1000])


def mlp(form: str) -> onnx.ModelProto:
    network = Network(form)
    x = network.node("Relu", network.gemm("input", 784, 1024, gain=2.0))
    x = network.node("Relu", network.gemm(x, 1024, 1024, gain=2.0))
    return network.model(network.gemm(x, 1024, 10), {"input": [784]}, [10])


class Transformer(Network):
    """An encoder as exporters write it: layer norm and GELU spelt out."""

    def __init__(self, form: str, width: int, heads: int):
        super().__init__(form)
        self.width, self.heads = width, heads

    def shape(self, *lengths: int) -> str:
        return self.constant(np.array(lengths, np.int64))

    def layer_norm(self, x: str) -> str:
        away = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        variance = self.node("ReduceMean", self.node("Pow", away, self.number(2)), axes=[-1])
        deviation = self.node("Sqrt", self.node("Add", variance, self.number(1e-12)))
        scaled = self.node("Mul", self.node("Div", away, deviation), self.constant(np.ones(self.width, np.float32)))
        return self.node("Add", scaled, self.constant(np.zeros(self.width, np.float32)))

    def gelu(self, x: str) -> str:
        curve = self.node("Erf", self.node("Div", x, self.number(math.sqrt(2))))
        return self.node("Mul", self.node("Mul", x, self.node("Add", curve, self.number(1))), self.number(0.5))

    def by_head(self, x: str, order: list[int]) -> str:
        x = self.node("Reshape", self.linear(x, self.width, self.width), self.shape(-1, TOKENS, self.heads, self.width // self.heads))
        return self.node("Transpose", x, perm=order)

    def attention(self, x: str, mask: str) -> str:
        query, key, value = self.by_head(x, [0, 2, 1, 3]), self.by_head(x, [0, 2, 3, 1]), self.by_head(x, [0, 2, 1, 3])
        scores = self.node("Div", self.node("MatMul", query, key), self.number(math.sqrt(self.width // self.heads)))
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.linear(self.node("Reshape", mixed, self.shape(-1, TOKENS, self.width)), self.width, self.width)


def transformer(form: str, layers: int, width: int, heads: int) -> onnx.ModelProto:
    network = Transformer(form, width, heads)
    words = network.constant(network.noise(VOCABULARY, width, scale=1.0))
    places = network.constant(network.noise(1, TOKENS, width, scale=0.1))
    x = network.layer_norm(network.node("Add", network.node("Gather", words, "input_ids"), places))
    mask = network.node("Cast", network.node("Unsqueeze", "attention_mask", network.shape(1, 2)), to=TensorProto.FLOAT)
    mask = network.node("Mul", network.node("Sub", network.number(1), mask), network.number(-10000))
    for _ in range(layers):
        x = network.layer_norm(network.node("Add", network.attention(x, mask), x))
        y = network.linear(network.gelu(network.linear(x, width, 4 * width)), 4 * width, width)
        x = network.layer_norm(network.node("Add", y, x))
    inputs = {"input_ids": [TOKENS], "attention_mask": [TOKENS]}
    return network.model(x, inputs, [TOKENS, width], dtype=TensorProto.INT64)


NETWORKS: dict[str, Callable[[str], onnx.ModelProto]] = {
    "resnet50": resnet50,
    "mobilenetv1": mobilenetv1,
    "resnet20": resnet20,
    "minilm6": lambda form: transformer(form, layers=6, width=384, heads=12),
    "bertbase": lambda form: transformer(form, layers=12, width=768, heads=12),
    "mlp": mlp,
}
FORMS = ["dense", "sp80", "sp90", "sp95", "blk90", "oblk90", "2of4"]


def make(path: pathlib.Path) -> None:
    """Makes one file, and what it is made from, unless they are there."""
    if path.exists():
        return
    network, form, *quantizer = path.stem.split("-")
    if network not in NETWORKS or form not in FORMS:
        sys.exit(f"{path.name}: no such network or form\n\n{__doc__}")
    unfinished = path.with_name("unfinished-" + path.name)
    if quantizer:
        import quantizers  # ONNX Runtime and NNCF take seconds to import

        source = path.with_name(f"{network}-{form}.onnx")
        make(source)
        quantizers.QUANTIZERS[quantizer[0]](source, unfinished)
        if path.suffix == ".xml":
            unfinished.with_suffix(".bin").rename(path.with_suffix(".bin"))
    else:
        onnx.save(NETWORKS[network](form), unfinished)
    unfinished.rename(path)
    print(path, flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:]:
        make(folder / name)
