//! Why a report could not be written or read.

/// Why a report could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The JSON is not a report.
    #[error("this is not a report")]
    Json(#[from] serde_json::Error),
    /// The report comes from a newer lissom.
    #[error("the report has schema version {found}; this lissom reads up to {newest}")]
    Version {
        /// Version of the file.
        found: u32,
        /// Newest version understood.
        newest: u32,
    },
    /// The page could not be drawn.
    #[error("the page could not be drawn")]
    Render(#[from] askama::Error),
}

impl ReportError {
    /// What the user can do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Json(_) => "give the `report.json` of a run folder, unchanged",
            Self::Version { .. } => "read it with the lissom that wrote it, or a newer one",
            Self::Render(_) => "this is a bug of lissom; please report it with the report.json",
        }
    }
}
