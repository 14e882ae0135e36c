//! Charts as inline SVG. Colours come from the page's style, so both colour schemes work; every chart says in words
//! what it shows.

pub(crate) mod curve;
mod frame;
pub(crate) mod histogram;
pub(crate) mod pareto;
pub(crate) mod reliability;
