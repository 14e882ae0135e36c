//! The report as data; what JSON holds.

use lissom_evaluate::{Comparison, Divergence, Judgement, Latency};
use serde::{Deserialize, Serialize};

use crate::ReportError;
use crate::curves::Curve;
use crate::histogram::{WeightHistogram, nan_from_null};
use crate::provenance::Provenance;

/// The version of the JSON this crate writes. It rises when a field changes its meaning or goes; new fields do not
/// raise it.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything known about one compression. Shares are 0..1, sizes bytes, times milliseconds.
///
/// Lists may be empty and options `None`: the page leaves such a section out and lists it as not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// What was compressed, as a heading.
    pub title: String,
    /// How to repeat it.
    pub provenance: Provenance,
    /// The contracts asked for.
    #[serde(default)]
    pub budgets: Vec<Budget>,
    /// Warnings, fallbacks and notes: whatever did not go as asked.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// What is not known, and why. The page adds what it finds missing itself.
    #[serde(default)]
    pub not_measured: Vec<NotMeasured>,
    /// The network before.
    #[serde(default)]
    pub original: Option<ModelCard>,
    /// The network after.
    #[serde(default)]
    pub compressed: Option<ModelCard>,
    /// What compressing changed on the same examples.
    #[serde(default)]
    pub comparison: Option<Comparison>,
    /// The first layer whose output leaves the tolerance. `None` when nothing diverges or nobody looked.
    #[serde(default)]
    pub divergence: Option<Divergence>,
    /// Names of the classes, by number; numbers are shown where a name is absent.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// What the recipe did, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The layers in the order they run.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// Histograms of weights.
    #[serde(default)]
    pub histograms: Vec<WeightHistogram>,
    /// What each layer costs when it alone is compressed.
    #[serde(default)]
    pub sensitivity: Option<Sensitivity>,
    /// Settings tried, cost against quality.
    #[serde(default)]
    pub pareto: Option<Pareto>,
    /// Numbers over the steps of a training, in the order they are drawn.
    #[serde(default)]
    pub curves: Vec<Curve>,
    /// Networks that steps made beside their results.
    #[serde(default)]
    pub pairs: Vec<Pair>,
}

impl Report {
    /// A report that knows nothing yet but its title and how to repeat it.
    #[must_use]
    pub fn new(title: &str, provenance: Provenance) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            title: title.to_owned(),
            provenance,
            budgets: Vec::new(),
            notices: Vec::new(),
            not_measured: Vec::new(),
            original: None,
            compressed: None,
            comparison: None,
            divergence: None,
            class_names: Vec::new(),
            steps: Vec::new(),
            layers: Vec::new(),
            histograms: Vec::new(),
            sensitivity: None,
            pareto: None,
            curves: Vec::new(),
            pairs: Vec::new(),
        }
    }

    /// The whole report as indented JSON with a final line end. NaN and infinity become null.
    ///
    /// # Errors
    /// [`ReportError::Json`], should a value not fit JSON.
    pub fn to_json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads what [`Report::to_json`] wrote.
    ///
    /// # Errors
    /// [`ReportError::Json`] when it is no report, [`ReportError::Version`] when it is too new.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let Version { schema_version: found } = serde_json::from_str(text)?;
        if found > SCHEMA_VERSION {
            return Err(ReportError::Version { found, newest: SCHEMA_VERSION });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The report as one HTML file that needs nothing else. See the crate's documentation.
    ///
    /// # Errors
    /// [`ReportError::Render`], should the template fail.
    pub fn to_html(&self) -> Result<String, ReportError> {
        crate::html::render(self)
    }

    /// The name of a class, or its number.
    pub(crate) fn class_name(&self, class: usize) -> String {
        match self.class_names.get(class) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("class {class}"),
        }
    }
}

/// A contract: a number that must not be above or below its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Its name, as the option that asked for it: `max-drop`.
    pub name: String,
    /// On which side of the target the number must be.
    pub goal: Goal,
    /// The target, in `unit`.
    #[serde(deserialize_with = "nan_from_null")]
    pub target: f64,
    /// What was reached; `None` when it could not be measured.
    pub actual: Option<f64>,
    /// The unit of both.
    pub unit: Unit,
    /// Whether the contract holds; `None` when it is not known.
    pub is_met: Option<bool>,
    /// How far the number is on the wrong side, above 0; `None` when the contract holds or it is not known.
    pub missed_by: Option<f64>,
}

/// On which side of the target a number must be; the target itself is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Not above the target.
    AtMost,
    /// Not below the target.
    AtLeast,
}

/// How a number is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// A share 0..1, shown as per cent.
    Share,
    /// A difference of shares 0..1, shown as percentage points.
    Points,
    /// Milliseconds.
    Milliseconds,
    /// Bits a parameter.
    Bits,
    /// A plain number.
    Number,
}

impl Budget {
    /// Holds `actual` against the target. A number that is not finite counts as not measured.
    #[must_use]
    pub fn judge(name: &str, goal: Goal, target: f64, actual: Option<f64>, unit: Unit) -> Self {
        let actual = actual.filter(|actual| actual.is_finite());
        let excess = actual.map(|actual| match goal {
            Goal::AtMost => actual - target,
            Goal::AtLeast => target - actual,
        });
        Self {
            name: name.to_owned(),
            goal,
            target,
            actual,
            unit,
            is_met: excess.filter(|excess| !excess.is_nan()).map(|excess| excess <= 0.0),
            missed_by: excess.filter(|excess| *excess > 0.0),
        }
    }
}

/// Something that did not go as asked, or that a reader must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How serious it is.
    pub kind: NoticeKind,
    /// The layer it is about.
    #[serde(default)]
    pub layer: Option<String>,
    /// What happened and why.
    pub message: String,
}

/// How serious a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A result may not be what was wanted.
    Warning,
    /// A layer or operator did not get what the recipe asked, but something else.
    Fallback,
    /// Worth knowing.
    Note,
}

/// Something not known, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMeasured {
    /// What is not known: `Peak memory`.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// What is known about one network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// File name or what the user calls it.
    pub name: String,
    /// Size of the file with its external data.
    pub size_bytes: Option<u64>,
    /// Number of parameters, zeros included.
    pub parameters: Option<u64>,
    /// Number of parameters that are not 0.
    pub non_zeros: Option<u64>,
    /// Bits stored a parameter of the original network.
    pub effective_bits: Option<f64>,
    /// Multiply-accumulates an example, zeros included.
    pub macs: Option<u64>,
    /// Multiply-accumulates an example with a weight that is not 0.
    pub effective_macs: Option<u64>,
    /// Times of one run.
    pub latency: Option<Latency>,
    /// Largest resident memory of the process while it ran.
    pub peak_memory_bytes: Option<u64>,
    /// What it is worth on the evaluation data.
    pub judgement: Option<Judgement>,
}

/// One step of a recipe, done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The method.
    pub method: String,
    /// Its settings, as in the recipe.
    pub settings: String,
    /// What it did, in a sentence or two.
    pub summary: Option<String>,
    /// One line a tensor, old to new.
    #[serde(default)]
    pub changes: Vec<Change>,
}

/// A network that a step made beside its result, such as the dense one that AC/DC trains with the sparse one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The step, counted from 1.
    pub step: u64,
    /// Its method.
    pub method: String,
    /// What the network is: `dense`.
    pub name: String,
    /// Its file, in the folder of the report.
    pub path: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// What it is worth on the evaluation data.
    pub judgement: Option<Judgement>,
    /// What the step's own result is worth on it.
    pub result: Option<Judgement>,
    /// From this network to the step's result: this one is the original, the result the compressed one.
    pub comparison: Option<Comparison>,
}

/// What a step did to one tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The layer or weight.
    pub layer: String,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
}

/// One layer of the compressed network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub operator: Option<String>,
    /// Shape of its weight.
    pub shape: Option<Vec<u64>>,
    /// How its weight is stored: `int8 per channel`.
    pub encoding: Option<String>,
    /// Share of zeros in its weight.
    pub sparsity: Option<f64>,
    /// Bits stored a weight.
    pub bits: Option<f64>,
    /// Bytes stored.
    pub bytes: Option<u64>,
    /// Multiply-accumulates an example, zeros included.
    pub macs: Option<u64>,
    /// Median time in the original network.
    pub time_before_ms: Option<f64>,
    /// Median time in the compressed network.
    pub time_after_ms: Option<f64>,
    /// Relative error of its output against the original network.
    pub output_error: Option<f64>,
    /// The kernel that runs it.
    pub kernel: Option<String>,
    /// Why that kernel.
    pub kernel_reason: Option<String>,
}

/// What each layer costs when it alone is compressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// What `drop` is a drop of: `top1`.
    pub metric: String,
    /// Unit of `drop`: points for shares.
    pub unit: Unit,
    /// How the layers were compressed: `int8 weights and activations`.
    pub setting: String,
    /// The layers, in any order.
    pub entries: Vec<SensitivityEntry>,
}

/// What one layer costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SensitivityEntry {
    /// The layer.
    pub layer: String,
    /// Drop of the metric, above 0 is a loss.
    pub drop: Option<f64>,
}

/// Settings tried, cost against quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pareto {
    /// What is cost: `size`.
    pub cost_label: String,
    /// Unit of the cost.
    pub cost_unit: Unit,
    /// What is quality, higher is better: `top1`.
    pub quality_label: String,
    /// Unit of the quality.
    pub quality_unit: Unit,
    /// Whether a lower cost is better; false for a sparsity or a speed.
    pub lower_cost_is_better: bool,
    /// The settings.
    pub points: Vec<ParetoPoint>,
}

/// One setting tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParetoPoint {
    /// Its name.
    pub label: String,
    /// Its cost.
    pub cost: Option<f64>,
    /// Its quality.
    pub quality: Option<f64>,
    /// Whether it is the one this report is about.
    pub is_chosen: bool,
}
