//! How many times as fast as the best peer's dense network lissom wants to be, on 2 cores with AVX-512 VNNI.

use super::measure::Case;

/// `(network, form, type, batch, goal)`.
const GOALS: &[(&str, &str, &str, usize, f64)] = &[
    ("resnet50", "sp90", "f32", 1, 4.5),
    ("mobilenetv1", "sp90", "f32", 1, 3.5),
    ("minilm6", "sp90", "f32", 1, 3.5),
    ("bertbase", "sp90", "f32", 1, 4.2),
    ("resnet20", "sp90", "f32", 1, 3.5),
    ("mlp", "sp90", "f32", 1, 2.0),
    ("resnet50", "sp80", "f32", 1, 2.5),
    ("minilm6", "sp80", "f32", 1, 2.2),
    ("resnet50", "sp90", "int8", 1, 2.0),
    ("minilm6", "sp90", "int8", 1, 2.3),
    ("bertbase", "sp90", "int8", 1, 3.0),
    ("mobilenetv1", "sp90", "int8", 1, 1.7),
    ("resnet50", "blk90", "int8", 1, 2.6),
    ("minilm6", "blk90", "int8", 1, 3.0),
    ("resnet50", "sp90", "f32", 16, 3.5),
    ("minilm6", "sp90", "f32", 16, 3.5),
    ("resnet50", "sp90", "int8", 16, 2.0),
    ("minilm6", "sp90", "int8", 16, 2.0),
];

/// The goal of a case, where there is one. Dense networks are to be as fast as the best peer.
pub(super) fn goal(case: &Case) -> Option<f64> {
    if case.form == "dense" {
        return Some(1.0);
    }
    let own = |&&(network, form, dtype, batch, _): &&(&str, &str, &str, usize, f64)| {
        (network, form, dtype, batch) == (case.network, case.form, case.dtype, case.batch)
    };
    GOALS.iter().find(own).map(|entry| entry.4)
}
