//! The report of one compression: what was asked, what was done, what it cost, and what is not known.
//!
//! A [`Report`] is plain data. [`Report::to_json`] writes it whole; [`Report::to_html`] draws it as one file that needs
//! no network and no other file. Both depend on nothing but the data, so the same run gives the same bytes: the date
//! and every measurement are the caller's.
//!
//! Every measurement is optional. What is absent, NaN or infinite is shown as "not measured" and listed at the end,
//! never as 0.
//!
//! ```
//! use lissom_report::{Budget, Goal, Provenance, Report, Unit};
//!
//! let mut report = Report::new("ResNet-20, int8", Provenance::default());
//! report.budgets.push(Budget::judge("max-drop", Goal::AtMost, 0.005, Some(0.007), Unit::Points));
//! let page = report.to_html()?;
//! assert!(page.contains("The budget max-drop is not met"));
//! assert_eq!(Report::from_json(&report.to_json()?)?, report);
//! # Ok::<(), lissom_report::ReportError>(())
//! ```
//!
//! `SCHEMA.md` beside this crate is the map of the JSON.

mod chart;
mod curves;
mod error;
mod escape;
mod format;
mod histogram;
mod html;
pub mod metrics;
mod provenance;
mod schema;
mod view;

pub use curves::{Curve, Series};
pub use error::ReportError;
pub use histogram::{QuantizationGrid, WeightHistogram};
pub use provenance::{FileHash, Provenance};
pub use schema::{
    Budget, Change, Goal, Layer, ModelCard, NotMeasured, Notice, NoticeKind, Pair, Pareto, ParetoPoint, Report,
    SCHEMA_VERSION, Sensitivity, SensitivityEntry, Step, Unit,
};
