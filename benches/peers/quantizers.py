"""Post-training quantization to int8 by the peers' own tools, calibrated on a few made-up inputs."""
import logging
import pathlib
from collections.abc import Iterator

import numpy as np
import onnx
from inputs import made_up

N_CALIBRATION = 4
# What becomes integers. In transformers only products do: ONNX Runtime has no integer form of the rest.
CONVOLUTIONAL = ["Conv", "Gemm", "Add", "Relu", "MaxPool", "GlobalAveragePool", "Flatten"]


def is_transformer(path: pathlib.Path) -> bool:
    return path.name.startswith(("minilm6", "bertbase"))


def feeds(path: pathlib.Path) -> Iterator[dict[str, np.ndarray]]:
    graph = onnx.load(path, load_external_data=False).graph
    for seed in range(1, N_CALIBRATION + 1):
        feed = {}
        for value in graph.input:
            dtype = value.type.tensor_type
            shape = [axis.dim_value or 1 for axis in dtype.shape.dim]
            feed[value.name] = made_up(value.name, shape, dtype.elem_type == onnx.TensorProto.FLOAT, seed)
        yield feed


def by_onnxruntime(source: pathlib.Path, out: pathlib.Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Feeds(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = feeds(source)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    logging.disable(logging.WARNING)
    quantize_static(
        source,
        out,
        Feeds(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"] if is_transformer(source) else CONVOLUTIONAL,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def by_nncf(source: pathlib.Path, out: pathlib.Path) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(source)
    inputs = [(value.any_name, [axis.get_length() for axis in list(value.partial_shape)[1:]]) for value in model.inputs]
    model.reshape({name: [1, *shape] for name, shape in inputs})
    model = nncf.quantize(
        model,
        nncf.Dataset(list(feeds(source))),
        subset_size=N_CALIBRATION,
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if is_transformer(source) else None,
    )
    model.reshape({name: [-1, *shape] for name, shape in inputs})
    openvino.save_model(model, out)


QUANTIZERS = {"int8": by_onnxruntime, "nncf": by_nncf}
