#!/usr/bin/env python3
"""Writes the networks that speed is measured on: their shapes are real, their weights are noise (batch norm folded away).

Packages:  pip install numpy onnx
Use:       speed_networks.py FOLDER    writes resnet50.onnx and mobilenetv1.onnx, opset 17, input [N, 3, 224, 224]
"""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Network:
    """Nodes one after the other; every method returns the name of what it made."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, *shape):
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 1
        values = self.rng.standard_normal(shape) * (np.sqrt(2 / fan_in) if len(shape) > 1 else 0.01)
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(self, op, *inputs, **attributes):
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x, c_in, c_out, kernel, stride=1, groups=1, relu=True):
        pad = kernel // 2
        weights = self.weight(c_out, c_in // groups, kernel, kernel), self.weight(c_out)
        x = self.node("Conv", x, *weights, strides=[stride] * 2, pads=[pad] * 4, group=groups)
        return self.node("Relu", x) if relu else x

    def classifier(self, x, channels):
        x = self.node("Flatten", self.node("GlobalAveragePool", x))
        return self.node("Gemm", x, self.weight(1000, channels), self.weight(1000), transB=1)

    def write(self, output, path):
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [value("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
            [value(output, TensorProto.FLOAT, ["N", 1000])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        print(path)


def resnet50(path):
    network = Network(1)
    x = network.conv("input", 3, 64, 7, stride=2)
    x = network.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            y = network.conv(x, channels, width, 1)
            y = network.conv(y, width, width, 3, stride=stride)
            y = network.conv(y, width, 4 * width, 1, relu=False)
            if block == 0:
                x = network.conv(x, channels, 4 * width, 1, stride=stride, relu=False)
            x, channels = network.node("Relu", network.node("Add", y, x)), 4 * width
    network.write(network.classifier(x, channels), path)


def mobilenetv1(path):
    network = Network(2)
    x, channels = network.conv("input", 3, 32, 3, stride=2), 32
    for c_out, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + 5 * [(512, 1)] + [(1024, 2), (1024, 1)]:
        x = network.conv(x, channels, channels, 3, stride=stride, groups=channels)
        x, channels = network.conv(x, channels, c_out, 1), c_out
    network.write(network.classifier(x, channels), path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    resnet50(folder / "resnet50.onnx")
    mobilenetv1(folder / "mobilenetv1.onnx")
