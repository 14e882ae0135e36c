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

impl Dim {
    /// A symbol of this name.
    pub fn symbol(name: impl AsRef<str>) -> Self {
        Self::Symbol(name.as_ref().into())
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
                    && factor % b == 0
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
    fn a_number_wins_over_a_symbol_when_broadcasting() {
        assert_eq!(Dim::symbol("N").broadcast(&Dim::Known(5)), Some(Dim::Known(5)));
        assert_eq!(Dim::symbol("N").broadcast(&Dim::Known(1)), Some(Dim::symbol("N")));
        assert_eq!(Dim::Known(2).broadcast(&Dim::Known(3)), None);
    }
}
