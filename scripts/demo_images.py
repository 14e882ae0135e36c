#!/usr/bin/env python3
"""Writes the images that lissom carries for its demonstration: 500 to calibrate with and 1,000 to judge on, of Fashion-MNIST.

Packages:  none
Data:      the four idx .gz files of Fashion-MNIST in one folder. On Debian: `apt install dataset-fashion-mnist`, then
           /usr/share/datasets/fashion-mnist; else from https://github.com/zalandoresearch/fashion-mnist.
Use:       demo_images.py FOLDER crates/cli/assets

The network beside them is trained by `examples/recipes/fashion-resnet.toml`.
"""
import gzip
import pathlib
import struct
import sys

PER_CLASS = 50  # training images of each class
TEST = 1000  # test images, the first


def read(folder: pathlib.Path, name: str) -> tuple[list[int], bytes]:
    """Lengths and bytes of an idx file of unsigned bytes."""
    raw = gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes())
    rank = raw[3]
    return list(struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])), raw[4 + 4 * rank :]


def write(folder: pathlib.Path, name: str, source: tuple[list[int], bytes], rows: list[int]) -> None:
    """An idx file of these rows that does not depend on the time of day."""
    (n, *shape), body = source
    size = len(body) // n
    head = struct.pack(">HBB", 0, 0x08, 1 + len(shape)) + struct.pack(f">{1 + len(shape)}I", len(rows), *shape)
    rows_bytes = b"".join(body[row * size : (row + 1) * size] for row in rows)
    (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(head + rows_bytes, compresslevel=9, mtime=0))


def main(data: pathlib.Path, out: pathlib.Path) -> None:
    labels = read(data, "train-labels-idx1")[1]
    of_class = [[row for row, label in enumerate(labels) if label == own][:PER_CLASS] for own in range(10)]
    rows = sorted(row for rows in of_class for row in rows)
    for what in ("images-idx3", "labels-idx1"):
        write(out, f"calibration-{what}", read(data, f"train-{what}"), rows)
        write(out, f"t10k-{what}", read(data, f"t10k-{what}"), list(range(TEST)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(pathlib.Path, sys.argv[1:]))
