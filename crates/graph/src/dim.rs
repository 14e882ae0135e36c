//! The length of an axis, known or symbolic.

use std::fmt;
use std::sync::Arc;

/// Length of an axis. A symbol is text: a name from the file (`N`) or what was computed from names (`(N+1)/2`). Two
/// symbols are equal if they are spelt the same, which arithmetic below keeps canonical enough for shapes in practice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A number. Negative only as an element of a shape-like value, never as a length.
    Known(i64),
    /// A name or an expression over names.
    Symbol(Arc<str>),
}

/// Bytes of a symbol's text. Arithmetic on a longer one would grow with every node it passes.
const MAX_SYMBOL_BYTES: usize = 160;

impl Dim {
    /// A symbol of this name. A text too long to be read by anyone becomes a short one, the same for the same text.
    pub fn symbol(name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        if name.len() > MAX_SYMBOL_BYTES {
            // FNV-1a of 128 bits; only a file made for it gives two texts of one sum.
            let hash = name.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
            });
            return Self::Symbol(format!("?{hash:032x}").into());
        }
        Self::Symbol(name.into())
    }

    /// The length, if known and not negative.
    pub fn known(&self) -> Option<usize> {
        match self {
            Self::Known(length) => usize::try_from(*length).ok(),
            Self::Symbol(_) => None,
        }
    }

    /// Sum.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => Self::Known(a.wrapping_add(*b)),
            (a, Self::Known(0)) => a.clone(),
            (Self::Known(0), b) => b.clone(),
            (a, Self::Known(b)) if *b < 0 => Self::symbol(format!("({a}-{})", b.unsigned_abs())),
            (a, b) => Self::symbol(format!("({a}+{b})")),
        }
    }

    /// Difference.
    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        match (self, other) {
            (a, b) if a == b => Self::Known(0),
            (Self::Known(a), Self::Known(b)) => Self::Known(a.wrapping_sub(*b)),
            (a, Self::Known(0)) => a.clone(),
            (a, b) => Self::symbol(format!("({a}-{b})")),
        }
    }

    /// Product.
    #[must_use]
    pub fn mul(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => Self::Known(a.wrapping_mul(*b)),
            (_, Self::Known(0)) | (Self::Known(0), _) => Self::Known(0),
            (a, Self::Known(1)) => a.clone(),
            (Self::Known(1), b) => b.clone(),
            (Self::Known(a), b) => Self::symbol(format!("{b}*{a}")),
            (a, b) => Self::symbol(format!("{a}*{b}")),
        }
    }

    /// Quotient rounded towards zero, as integer `Div` does; `None` for a known zero divisor.
    pub fn div(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (_, Self::Known(0)) => return None,
            (Self::Known(a), Self::Known(b)) => Self::Known(a.wrapping_div(*b)),
            (a, Self::Known(1)) => a.clone(),
            (a, b) if a == b => Self::Known(1),
            (a, b) => {
                // `N*12 / 12` is N: the shape arithmetic of exporters splits what it has just joined.
                if let (Self::Symbol(a), Self::Known(b)) = (a, b)
                    && let Some((head, tail)) = a.rsplit_once('*')
                    && let Ok(factor) = tail.parse::<i64>()
                    && factor.checked_rem(*b) == Some(0)
                {
                    return Some(Self::symbol(head).mul(&Self::Known(factor / b)));
                }
                Self::symbol(format!("({a}/{b})"))
            }
        })
    }

    /// What the two lengths broadcast to; `None` if they cannot. A symbol against a number other than 1 is that number:
    /// any other length would be refused when the graph runs.
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (a, b) if a == b => Some(a.clone()),
            (Self::Known(1), b) => Some(b.clone()),
            (a, Self::Known(1)) => Some(a.clone()),
            (Self::Known(_), Self::Known(_)) => None,
            (a @ Self::Known(_), _) | (_, a @ Self::Known(_)) => Some(a.clone()),
            (a, b) => Some(Self::symbol(format!("max({a},{b})"))),
        }
    }
}

impl From<usize> for Dim {
    fn from(length: usize) -> Self {
        Self::Known(length as i64)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(length) => write!(f, "{length}"),
            Self::Symbol(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_leave_a_symbol_as_it_was() {
        let n = Dim::symbol("N");
        assert_eq!(n.add(&Dim::Known(0)), n);
        assert_eq!(n.mul(&Dim::Known(1)), n);
        assert_eq!(n.mul(&Dim::Known(12)).div(&Dim::Known(12)), Some(n.clone()));
        assert_eq!(n.sub(&n), Dim::Known(0));
        assert_eq!(n.div(&Dim::Known(0)), None);
    }

    #[test]
    fn text_stays_short_and_the_same_however_much_is_computed() {
        let grown = || (0..200).fold(Dim::symbol("N"), |dim, i| dim.mul(&dim).add(&Dim::Known(i + 1)));
        assert_eq!(grown(), grown());
        assert_ne!(grown(), grown().add(&Dim::Known(1)));
        assert!(grown().to_string().len() <= 3 * MAX_SYMBOL_BYTES);
        assert!(Dim::symbol(format!("N*{}", i64::MIN)).div(&Dim::Known(-1)).is_some());
    }

    #[test]
    fn a_number_wins_over_a_symbol_when_broadcasting() {
        assert_eq!(Dim::symbol("N").broadcast(&Dim::Known(5)), Some(Dim::Known(5)));
        assert_eq!(Dim::symbol("N").broadcast(&Dim::Known(1)), Some(Dim::symbol("N")));
        assert_eq!(Dim::Known(2).broadcast(&Dim::Known(3)), None);
    }
}
