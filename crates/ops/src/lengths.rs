//! Shape arithmetic: integer scalars and vectors known at least symbolically, which exporters compute from `Shape`.

use lissom_graph::{Dim, Fact, KnownValue};
use lissom_tensor::DType;

/// The fact of lengths: a scalar if `rank` is 0, else a vector.
pub(crate) fn lengths_fact(dtype: DType, rank: usize, dims: Vec<Dim>) -> Fact {
    let shape = if rank == 0 { Vec::new() } else { vec![dims.len().into()] };
    Fact { dtype: Some(dtype), shape: Some(shape), value: Some(KnownValue::Dims(dims)) }.simplified()
}

/// The lengths a fact holds, if its type is one that shapes are computed in, with the type and the rank.
pub(crate) fn lengths(fact: &Fact) -> Option<(DType, usize, Vec<Dim>)> {
    let dtype = fact.dtype.filter(|dtype| matches!(dtype, DType::I64 | DType::I32))?;
    let dims = fact.as_dims()?;
    let rank = fact.rank().filter(|&rank| rank <= 1)?;
    Some((dtype, rank, dims))
}

/// True if the fact holds lengths some of which are symbols: what is known entirely is computed by evaluating.
pub(crate) fn is_symbolic(fact: &Fact) -> bool {
    matches!(fact.value, Some(KnownValue::Dims(_)))
}

/// Product of lengths.
pub(crate) fn product(dims: &[Dim]) -> Dim {
    dims.iter().fold(Dim::Known(1), |product, dim| product.mul(dim))
}

/// `numerator / denominator` of two products of lengths, equal factors cancelled first. `None` for a known zero in the
/// denominator.
pub(crate) fn quotient(numerator: &[Dim], denominator: &[Dim]) -> Option<Dim> {
    let mut above: Vec<Dim> = numerator.iter().flat_map(factors).collect();
    let mut below = Vec::new();
    for factor in denominator.iter().flat_map(factors) {
        match above.iter().position(|other| *other == factor) {
            Some(index) => drop(above.swap_remove(index)),
            None => below.push(factor),
        }
    }
    product(&sorted(above)).div(&product(&sorted(below)))
}

/// The larger or smaller of two lengths; known only for numbers and equal symbols.
pub(crate) fn extreme(a: &Dim, b: &Dim, choose: impl Fn(i64, i64) -> i64) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) => Some(Dim::Known(choose(*a, *b))),
        (a, b) if a == b => Some(a.clone()),
        _ => None,
    }
}

/// The factors of a length: `N*3` is N and 3. An expression in parentheses is one factor.
fn factors(dim: &Dim) -> Vec<Dim> {
    match dim {
        Dim::Symbol(text) if !text.contains('(') && text.contains('*') => {
            text.split('*').map(|part| part.parse().map_or_else(|_| Dim::symbol(part), Dim::Known)).collect()
        }
        _ => vec![dim.clone()],
    }
}

/// Symbols first, all numbers as one: the spelling that arithmetic on [`Dim`] keeps.
fn sorted(factors: Vec<Dim>) -> Vec<Dim> {
    let (numbers, mut symbols): (Vec<Dim>, Vec<Dim>) =
        factors.into_iter().partition(|factor| matches!(factor, Dim::Known(_)));
    symbols.sort();
    symbols.push(product(&numbers));
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_factors_cancel() {
        let n = Dim::symbol("N");
        let dims = [n.mul(&Dim::Known(4)), Dim::Known(6)];
        assert_eq!(quotient(&dims, &[Dim::Known(12)]), Some(n.mul(&Dim::Known(2))));
        assert_eq!(quotient(&dims, &[n.clone(), Dim::Known(2)]), Some(Dim::Known(12)));
        assert_eq!(quotient(&dims, &[Dim::Known(0)]), None);
    }
}
