#!/usr/bin/env python3
"""Holds models to ONNX Runtime: the same inputs through both, and the accuracy of a file in ONNX Runtime alone.

Packages:  pip install numpy onnxruntime
Use:       against_onnxruntime.py outputs MODEL...          the largest difference of any output, lissom against ONNX Runtime
           against_onnxruntime.py top1 MODEL CIFAR_FOLDER   top1 on CIFAR-10's test batch, by ONNX Runtime
           LISSOM=path names the binary; else it is looked for on the PATH, then in target/release.

Inputs are made up from a fixed seed. Symbolic axes are 1 where they come first, else what SHAPES says of the file or 128.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

# Networks from PyPI (`cargo xtask data pypi-nets`) whose inputs leave their size open, and what they are used with.
SHAPES = {
    "rapidocr_det": {"x": [1, 3, 160, 320]},
    "rapidocr_rec": {"x": [1, 3, 48, 320]},
    "rapidocr_cls": {"x": [1, 3, 48, 192]},
    "silero_vad": {"input": [1, 576], "state": [2, 1, 128], "sr": 16000},
    "silero_vad_half": {"input": [1, 576], "state": [2, 1, 128]},
    "silero_vad_16k_op15": {"input": [1, 576], "state": [2, 1, 128], "sr": 16000},
    "silero_vad_op18_ifless": {"input": [1, 576], "state": [2, 1, 128], "sr": 16000},
    "silero_vad_openvino_16k": {"input": [1, 576], "state": [2, 1, 128]},
    "silero_vad_16k_sequence": {"input": [20, 576], "h": [1, 1, 128], "c": [1, 1, 128]},
    "basic_pitch": {"serving_default_input_2:0": [1, 43844, 1]},
    "magika": {"bytes": [1, 2048]},
}
TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64, "int32": np.int32}
CIFAR_MEAN, CIFAR_STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def session(path):
    """The file as it is: fusions would make ONNX Runtime's own answers differ a little."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def made_up(value, known, rng):
    """Values for one input."""
    dtype = TYPES[value.type[len("tensor(") : -1]]
    shape = known.get(value.name)
    if isinstance(shape, int):
        return np.array(shape, dtype)
    if shape is None:
        shape = [n if isinstance(n, int) else 1 if axis == 0 else 128 for axis, n in enumerate(value.shape)]
    if "mask" in value.name:
        return np.ones(shape, dtype)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 256, shape).astype(dtype)
    return (0.5 * rng.standard_normal(shape)).astype(dtype)


def lissom_binary():
    release = pathlib.Path(__file__).parent.parent / "target/release/lissom"
    return os.environ.get("LISSOM") or shutil.which("lissom") or str(release)


def outputs(models):
    for path in models:
        rng = np.random.default_rng(7)
        reference = session(path)
        known = SHAPES.get(pathlib.Path(path).stem, {})
        inputs = {value.name: made_up(value, known, rng) for value in reference.get_inputs()}
        with tempfile.TemporaryDirectory() as folder:
            given, got = f"{folder}/in.npz", f"{folder}/out.npz"
            np.savez(given, **inputs)
            subprocess.run([lissom_binary(), "run", path, "--input", given, "--output", got, "--json"], check=True, stdout=subprocess.DEVNULL)
            ours = dict(np.load(got))
        names = [value.name for value in reference.get_outputs()]
        errors = [np.abs(ours[n].astype(np.float64) - e).max(initial=0) for n, e in zip(names, reference.run(None, inputs))]
        print(f"{path}: largest difference {max(errors):.2e} over {len(names)} outputs", flush=True)


def top1(path, folder):
    reference = session(path)
    name = reference.get_inputs()[0].name
    records = np.fromfile(pathlib.Path(folder, "test_batch.bin"), np.uint8).reshape(-1, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255)
    images = (images - CIFAR_MEAN[:, None, None]) / CIFAR_STD[:, None, None]
    answers = [reference.run(None, {name: batch})[0].argmax(1) for batch in np.split(images, 50)]
    right = int((np.concatenate(answers) == records[:, 0]).sum())
    print(f"{path}: top1 {100 * right / len(records):.2f} % ({right} of {len(records)}), ONNX Runtime {onnxruntime.__version__}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["outputs", *models] if models:
            outputs(models)
        case ["top1", model, folder]:
            top1(model, folder)
        case _:
            sys.exit(__doc__)
