//! Whether outputs are as expected, by the corpus's own rule: `|a − b| ≤ atol + rtol · |b|`, NaN equals NaN, and types and
//! shapes are the same.

use lissom_tensor::{DType, Storage, Tensor};

use super::case::describe;

/// Compares all outputs.
pub(super) fn all(actual: &[Tensor], expected: &[Tensor], tolerance: (f64, f64)) -> Result<(), String> {
    if actual.len() != expected.len() {
        return Err(format!("{} outputs, {} expected", actual.len(), expected.len()));
    }
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        one(actual, expected, tolerance).map_err(|reason| format!("output {i}: {reason}"))?;
    }
    Ok(())
}

/// Whether types and shapes are as expected, whatever the values.
pub(super) fn same_facts(actual: &[Tensor], expected: &[Tensor]) -> bool {
    let facts = |tensors: &[Tensor]| tensors.iter().map(describe).collect::<Vec<_>>();
    facts(actual) == facts(expected)
}

/// Whether no element differs by more than a millionth of the largest.
pub(super) fn differ_by_rounding(actual: &[Tensor], expected: &[Tensor]) -> bool {
    let near = |(a, b): (&Tensor, &Tensor)| {
        let (Ok(a), Ok(b)) = (a.to_f64_vec(), b.to_f64_vec()) else { return false };
        let largest = b.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-6 * largest)
    };
    same_facts(actual, expected) && actual.iter().zip(expected).all(near)
}

fn one(actual: &Tensor, expected: &Tensor, tolerance: (f64, f64)) -> Result<(), String> {
    if (actual.dtype(), actual.shape()) != (expected.dtype(), expected.shape()) {
        return Err(format!("{}, expected {}", describe(actual), describe(expected)));
    }
    match (actual.storage(), expected.storage()) {
        (Storage::Container(_, a), Storage::Container(_, b)) => all(a, b, tolerance),
        (Storage::Str(a), Storage::Str(b)) => exact(a, b),
        (Storage::SmallFloat(_, a), Storage::SmallFloat(_, b)) => exact(a, b),
        (Storage::I64(a), Storage::I64(b)) => exact(a, b),
        (Storage::U64(a), Storage::U64(b)) => exact(a, b),
        (Storage::C64(a), Storage::C64(b)) => close(
            &a.iter().flatten().map(|&x| x.into()).collect::<Vec<_>>(),
            &b.iter().flatten().map(|&x| x.into()).collect::<Vec<_>>(),
            tolerance,
        ),
        (Storage::C128(a), Storage::C128(b)) => close(a.as_flattened(), b.as_flattened(), tolerance),
        _ => {
            let numbers = |tensor: &Tensor| tensor.to_f64_vec().map_err(|error| error.to_string());
            let tolerance = match actual.dtype() {
                // One unit in the last place of a 16-bit float is more than the rule allows.
                DType::F16 => (tolerance.0.max(2e-3), tolerance.1),
                DType::BF16 => (tolerance.0.max(1e-2), tolerance.1),
                _ => tolerance,
            };
            close(&numbers(actual)?, &numbers(expected)?, tolerance)
        }
    }
}

fn exact<T: PartialEq + std::fmt::Debug>(actual: &[T], expected: &[T]) -> Result<(), String> {
    match actual.iter().zip(expected).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(i) => Err(format!("element {i}: {:?}, expected {:?}", actual[i], expected[i])),
    }
}

fn close(actual: &[f64], expected: &[f64], (relative, absolute): (f64, f64)) -> Result<(), String> {
    let differs = |a: f64, b: f64| {
        let is_same = a == b || (a.is_nan() && b.is_nan());
        !is_same && (a.is_nan() || b.is_nan() || (a - b).abs() > absolute + relative * b.abs() || b.is_infinite())
    };
    match actual.iter().zip(expected).position(|(&a, &b)| differs(a, b)) {
        None => Ok(()),
        Some(i) => Err(format!("element {i}: {}, expected {}", actual[i], expected[i])),
    }
}
