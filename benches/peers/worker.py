#!/usr/bin/env python3
"""Runs a network in a peer when told to, so that `cargo xtask peers` can alternate engines.

Use:  worker.py onnxruntime|openvino FILE THREADS BATCH

Loads, runs once, and prints a line of JSON: the engine's name, `load_ms` from the file to the first answer, and the peak of
memory above what the imports take. Then answers lines: `run SECONDS` with a JSON list of the seconds of each run (after one
that does not count), `answer FILE` by writing the first output as raw f32.
"""
import json
import sys
import time
from collections.abc import Callable

import numpy as np
from inputs import made_up

Run = Callable[[], np.ndarray]


def onnxruntime(path: str, threads: int, batch: int) -> tuple[str, Callable[[], Run]]:
    import onnxruntime

    def load() -> Run:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = {
            value.name: made_up(value.name, [batch, *value.shape[1:]], value.type == "tensor(float)")
            for value in session.get_inputs()
        }
        return lambda: session.run(None, feed)[0]

    return f"ONNX Runtime {onnxruntime.__version__}", load


def openvino(path: str, threads: int, batch: int) -> tuple[str, Callable[[], Run]]:
    import openvino

    def load() -> Run:
        # Left alone it computes in bf16 where the CPU can, which is not the same answer.
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()
        model = core.read_model(path)
        shapes = {value.any_name: [batch, *[n.get_length() for n in list(value.partial_shape)[1:]]] for value in model.inputs}
        types = {value.any_name: value.element_type.is_real() for value in model.inputs}
        model.reshape(shapes)
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        feed = {name: made_up(name, shape, types[name]) for name, shape in shapes.items()}
        return lambda: request.infer(feed, share_inputs=True, share_outputs=True)[0]

    return f"OpenVINO {openvino.__version__.split('-')[0]}", load


def status_bytes(key: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(key + ":"))


def reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")


def timed(run: Run, seconds: float) -> list[float]:
    run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def main(engine: str, path: str, threads: int, batch: int) -> None:
    name, load = {"onnxruntime": onnxruntime, "openvino": openvino}[engine](path, threads, batch)
    reset_peak()
    before, start = status_bytes("VmRSS"), time.perf_counter()
    run = load()
    run()
    load_ms = 1e3 * (time.perf_counter() - start)
    print(json.dumps({"engine": name, "load_ms": load_ms, "peak_bytes": status_bytes("VmHWM") - before}), flush=True)
    for line in sys.stdin:
        match line.split():
            case ["run", seconds]:
                print(json.dumps(timed(run, float(seconds))), flush=True)
            case ["answer", out]:
                np.ascontiguousarray(run(), dtype="<f4").tofile(out)
                print("[]", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
