"""Made-up inputs: the same numbers as `crates/engine/examples/latency.rs` makes, so that answers can be compared."""
import numpy as np


def scrambled(n: int, seed: int) -> np.ndarray:
    """n numbers of 32 bits: splitmix64."""
    x = (np.arange(1, n + 1, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) >> np.uint64(32)


def made_up(name: str, shape: list[int], is_float: bool, seed: int = 0) -> np.ndarray:
    """Floats from -1 to 1; whole numbers below 1000, masks 1 and types 0."""
    if not is_float and ("mask" in name or "type" in name):
        return np.full(shape, int("mask" in name), np.int64)
    numbers = scrambled(int(np.prod(shape)), seed).reshape(shape)
    if is_float:
        return ((numbers % np.uint64(2001)).astype(np.float32) / np.float32(1000) - np.float32(1)).astype(np.float32)
    return (numbers % np.uint64(1000)).astype(np.int64)
