//! The one error of this crate: a slice or a shape that does not fit the others.

/// Why a kernel refused its arguments. Nothing has been written when it is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A slice has another length than its shape says.
    #[error("`{what}` holds {got} elements, its shape needs {expected}")]
    Length {
        /// The argument.
        what: &'static str,
        /// Elements the shape needs.
        expected: usize,
        /// Elements the slice holds.
        got: usize,
    },
    /// The shape is impossible: zero strides, groups that do not divide, a kernel larger than its input.
    #[error("{what} is {got}, which must be {must}")]
    Invalid {
        /// The number that is wrong.
        what: &'static str,
        /// Its value.
        got: usize,
        /// What it must be.
        must: &'static str,
    },
    /// A product of sizes does not fit the address space.
    #[error("the size of `{what}` overflows")]
    Overflow {
        /// The argument.
        what: &'static str,
    },
}

impl ShapeError {
    /// Errs unless `got == expected`.
    pub fn expect(what: &'static str, got: usize, expected: usize) -> Result<(), Self> {
        if got == expected { Ok(()) } else { Err(Self::Length { what, expected, got }) }
    }

    /// Errs unless `holds`; `must` completes the sentence "… must be".
    pub fn require(holds: bool, what: &'static str, got: usize, must: &'static str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Invalid { what, got, must }) }
    }

    /// The product of `sizes`, or [`ShapeError::Overflow`].
    pub fn product(what: &'static str, sizes: &[usize]) -> Result<usize, Self> {
        let product = sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        // Bytes must be addressable too, so the limit is that of `isize`, four bytes an element.
        product.filter(|&elements| elements <= isize::MAX as usize / 4).ok_or(Self::Overflow { what })
    }
}
