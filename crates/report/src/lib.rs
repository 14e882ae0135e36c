//! The report of one compression: what was asked, what was done, what it cost, and what is not known.
//!
//! A [`Report`] is plain data. [`Report::to_json`] writes it whole; [`Report::to_html`] draws it as one file that needs
//! no network and no other file. Both depend on nothing but the data, so the same run gives the same bytes: the date
//! and every measurement are the caller's.
//!
//! Every measurement is optional. What is absent, NaN or infinite is shown as "not measured" and listed at the end,
//! never as 0.

mod chart;
mod error;
mod escape;
mod format;
mod histogram;
mod html;
mod provenance;
mod schema;
mod view;

pub use error::ReportError;
pub use histogram::{QuantizationGrid, WeightHistogram};
pub use provenance::{FileHash, Provenance};
pub use schema::{
    Budget, Change, Goal, Layer, ModelCard, NotMeasured, Notice, NoticeKind, Pareto, ParetoPoint, Report,
    SCHEMA_VERSION, Sensitivity, SensitivityEntry, Step, Unit,
};
