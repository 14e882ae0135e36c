//! Sharpness-aware minimization: the gradient is taken a little uphill of the weights, and applied to them.
//!
//! e = ρ g / (‖g‖ + 10⁻¹²) over all parameters together; adaptive (ASAM): e = ρ w² g / (‖ |w| g ‖ + 10⁻¹²). The base optimizer is given
//! the gradient at w + e. Running statistics are those of the first pass.

use lissom_graph::{OpError, ValueId};
use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::adamw::AdamW;
use super::lamb::Lamb;
use super::lars::Lars;
use super::lion::Lion;
use super::sgd::Sgd;
use super::{Checked, Optimizer, OptimizerSpec, Slot, Updated, Wrong, positive};
use crate::Nodes;

pub(super) const SPEC: OptimizerSpec = OptimizerSpec {
    name: "sam",
    summary: "another optimizer, given the gradient a little uphill: finds flatter minima at twice the work",
    source: "Foret et al., ICLR 2021, arXiv:2010.01412; adaptive: Kwon et al. 2021, arXiv:2102.11600",
    example: "radius = 0.05\nbase = { sgd = { learning_rate = 0.1, momentum = 0.9 } }",
    parse: |settings: &Settings| -> Result<Box<dyn Optimizer>, SettingsError> {
        let sam: Sam = settings.parse()?;
        positive("radius", sam.radius).map_err(|(key, reason)| settings.error_at(key, reason))?;
        let base = sam.base.name();
        sam.base.check().map_err(|(key, reason)| settings.error_at(&format!("base.{base}.{key}"), reason))?;
        Ok(Box::new(sam))
    },
};

/// Settings of `sam`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sam {
    /// ρ.
    #[serde(default = "radius")]
    radius: f64,
    /// Distances in proportion to the weights; the radius is then about ten times as large.
    #[serde(default)]
    adaptive: bool,
    base: Base,
}

fn radius() -> f64 {
    0.05
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Base {
    AdamW(AdamW),
    Lamb(Lamb),
    Lars(Lars),
    Lion(Lion),
    Sgd(Sgd),
}

impl Base {
    fn name(&self) -> &'static str {
        match self {
            Self::AdamW(_) => "adamw",
            Self::Lamb(_) => "lamb",
            Self::Lars(_) => "lars",
            Self::Lion(_) => "lion",
            Self::Sgd(_) => "sgd",
        }
    }

    fn check(&self) -> Result<(), Wrong> {
        match self {
            Self::AdamW(base) => base.check(),
            Self::Lamb(base) => base.check(),
            Self::Lars(base) => base.check(),
            Self::Lion(base) => base.check(),
            Self::Sgd(base) => base.check(),
        }
    }

    fn get(&self) -> &dyn Optimizer {
        match self {
            Self::AdamW(base) => base,
            Self::Lamb(base) => base,
            Self::Lars(base) => base,
            Self::Lion(base) => base,
            Self::Sgd(base) => base,
        }
    }
}

impl Optimizer for Sam {
    fn learning_rate(&self) -> f64 {
        self.base.get().learning_rate()
    }

    fn states(&self) -> &'static [&'static str] {
        self.base.get().states()
    }

    fn scalars(&self) -> &'static [&'static str] {
        self.base.get().scalars()
    }

    fn values(&self, step: u64, learning_rate: f64) -> Vec<f64> {
        self.base.get().values(step, learning_rate)
    }

    fn prepare(&self, nodes: &mut Nodes<'_>, gradients: Vec<ValueId>) -> Result<Vec<ValueId>, OpError> {
        self.base.get().prepare(nodes, gradients)
    }

    fn update(&self, nodes: &mut Nodes<'_>, slot: &Slot<'_>, scalars: &[ValueId]) -> Result<Updated, OpError> {
        self.base.get().update(nodes, slot, scalars)
    }

    fn perturbation(&self) -> Option<Perturbation> {
        let length = if self.adaptive { Length::Adaptive } else { Length::Normalized };
        Some(Perturbation { radius: self.radius, length })
    }
}

/// A move of all weights along their gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perturbation {
    /// ρ.
    pub radius: f64,
    /// What ρ is measured in.
    pub length: Length,
}

/// What the radius of a perturbation is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// ρ g: the gradient as it is, as the compression-aware minimizer takes it.
    Raw,
    /// ρ g / ‖g‖: SAM.
    Normalized,
    /// ρ w² g / ‖ |w| g ‖: adaptive SAM.
    Adaptive,
}

impl Perturbation {
    /// The moved weights.
    ///
    /// # Errors
    /// [`OpError`] if a node cannot be made.
    pub fn moved(
        &self,
        nodes: &mut Nodes<'_>,
        weights: &[ValueId],
        gradients: &[ValueId],
    ) -> Result<Vec<ValueId>, OpError> {
        let mut scaled = gradients.to_vec();
        if self.length == Length::Adaptive {
            for (scaled, &weight) in scaled.iter_mut().zip(weights) {
                let size = nodes.abs(weight)?;
                *scaled = nodes.mul(*scaled, size)?;
            }
        }
        let radius = nodes.number(self.radius)?;
        let factor = match self.length {
            Length::Raw => radius,
            Length::Normalized | Length::Adaptive => {
                let norm = nodes.global_norm(&scaled)?;
                let divisor = nodes.shifted(norm, 1e-12)?;
                nodes.div(radius, divisor)?
            }
        };
        let mut moved = Vec::with_capacity(weights.len());
        for (&scaled, &weight) in scaled.iter().zip(weights) {
            let mut by = nodes.mul(scaled, factor)?;
            if self.length == Length::Adaptive {
                let size = nodes.abs(weight)?;
                by = nodes.mul(by, size)?;
            }
            moved.push(nodes.add(weight, by)?);
        }
        Ok(moved)
    }
}
