//! What the page shows, as text: one file a section, each from report to strings.

pub(crate) mod budgets;
pub(crate) mod cards;
pub(crate) mod classes;
pub(crate) mod confusion;
pub(crate) mod layers;
pub(crate) mod learning;
pub(crate) mod missing;
pub(crate) mod pairs;
pub(crate) mod quality;
pub(crate) mod steps;
pub(crate) mod table;
pub(crate) mod trade;
pub(crate) mod verdict;
