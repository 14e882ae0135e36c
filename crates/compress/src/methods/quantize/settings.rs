//! Settings of `quantize`.

use lissom_recipe::{LayerFilter, Scheme, Settings, SettingsError};
use serde::Deserialize;

use crate::parts::quantizer::{Codes, Sharing};
use crate::parts::range::{Calibrate, RangeRule};

/// As written in a recipe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// `W8A8`, `W4A32-g32`, …; what the tables below say in one word.
    scheme: Option<Scheme>,
    #[serde(default)]
    weights: Weights,
    #[serde(default)]
    activations: ActivationTable,
    /// Ranges of activations are found when the network runs, without calibration data.
    #[serde(default)]
    dynamic: bool,
    /// Operators that become integers; all that can unless given.
    operators: Option<Vec<Operator>>,
    /// Whether tables of embeddings become 8-bit codes.
    #[serde(default = "yes")]
    embeddings: bool,
    /// One bit less for weights: for x86 without VNNI, where some runtimes add pairs of products in 16 bits.
    #[serde(default)]
    reduce_range: bool,
    /// Read by the recipe; named here so that it is no unknown key.
    #[serde(default, rename = "layers")]
    _layers: LayerFilter,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weights {
    bits: Option<u8>,
    granularity: Option<Granularity>,
    group_size: Option<usize>,
    symmetric: Option<bool>,
    /// Where the range of a weight ends; `mse` unless more than 4 bits.
    range: Option<WeightRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Granularity {
    Tensor,
    Channel,
    Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WeightRange {
    MinMax,
    Mse,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivationTable {
    bits: Option<u8>,
    #[serde(default)]
    calibrate: Calibrate,
    percentile: Option<f64>,
    power: Option<f64>,
    #[serde(default)]
    symmetric: bool,
    samples: Option<usize>,
    momentum: Option<f64>,
}

/// Operators that have an integer form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(clippy::enum_variant_names)] // ONNX's own names
enum Operator {
    Add,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    Gemm,
    GlobalAveragePool,
    MatMul,
}

impl Operator {
    const ALL: [Self; 8] = [
        Self::Add,
        Self::AveragePool,
        Self::Concat,
        Self::Conv,
        Self::ConvTranspose,
        Self::Gemm,
        Self::GlobalAveragePool,
        Self::MatMul,
    ];
}

/// The operators that become integers.
#[derive(Debug, Clone)]
pub(in crate::methods) struct Operators(Vec<Operator>);

impl Operators {
    /// All that have an integer form.
    pub(in crate::methods) fn all() -> Self {
        Self(Operator::ALL.to_vec())
    }

    /// Whether an operator of ONNX's own is one of them.
    pub(in crate::methods) fn holds(&self, op_type: &str) -> bool {
        self.0.iter().any(|operator| format!("{operator:?}") == op_type)
    }
}

/// What happens to activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::methods) enum Activation {
    /// They stay float.
    Float,
    /// 8 bits over ranges known beforehand.
    Static,
    /// 8 bits over ranges found in each run.
    Dynamic,
}

/// The method, with its settings checked.
#[derive(Debug, Clone)]
pub(in crate::methods) struct Quantize {
    pub(in crate::methods) weight_codes: Codes,
    pub(in crate::methods) sharing: Sharing,
    pub(in crate::methods) clips_weights: bool,
    pub(in crate::methods) activation: Activation,
    pub(in crate::methods) rule: RangeRule,
    /// Calibration samples that are looked at.
    pub(in crate::methods) samples: usize,
    /// Weight of the past in a moving average of the batches' extremes.
    pub(in crate::methods) momentum: Option<f64>,
    pub(in crate::methods) operators: Operators,
    pub(in crate::methods) embeddings: bool,
    bits: u8,
}

/// Samples that are looked at unless the recipe says otherwise: more move the ranges little.
const SAMPLES: usize = 512;

impl Quantize {
    pub(in crate::methods) fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let written: Written = settings.parse()?;
        let scheme = written.scheme;
        let bits = written.weights.bits.or(scheme.map(|scheme| scheme.weight_bits)).unwrap_or(8);
        if !(2..=8).contains(&bits) {
            let key = if written.weights.bits.is_some() { "weights.bits" } else { "scheme" };
            return Err(settings.error_at(key, format!("weights of {bits} bits; integers have 2 to 8")));
        }
        let activation = activation(settings, &written)?;
        let group_size = written.weights.group_size.or(scheme.and_then(|scheme| scheme.group_size));
        let sharing = sharing(settings, &written.weights, group_size)?;
        let bits = if written.reduce_range { bits.min(7) } else { bits };
        let codes = if written.weights.symmetric.unwrap_or(true) { Codes::signed(bits) } else { Codes::unsigned(bits) };
        let clips_weights = written.weights.range.map_or(bits <= 4, |range| range == WeightRange::Mse);
        let momentum = written.activations.momentum;
        if momentum.is_some_and(|m| !(0.0..1.0).contains(&m)) {
            return Err(settings.error_at("activations.momentum", "it is a share between 0 and 1, such as 0.9"));
        }
        if momentum.is_some() && written.activations.calibrate != Calibrate::MinMax {
            return Err(
                settings.error_at("activations.momentum", "a moving average is of `calibrate = \"minmax\"` only")
            );
        }
        let samples = written.activations.samples.unwrap_or(SAMPLES);
        if samples == 0 {
            return Err(settings.error_at("activations.samples", "at least one sample must be looked at"));
        }
        Ok(Self {
            weight_codes: codes,
            sharing,
            clips_weights,
            activation,
            rule: rule(settings, &written.activations)?,
            samples,
            momentum,
            operators: operators(settings, &written, activation)?,
            embeddings: written.embeddings,
            bits,
        })
    }

    /// The opset that can say the encoding: scales per channel exist since 13, groups and 4 bits since 21, 2 bits since 25.
    pub(in crate::methods) fn needed_opset(&self) -> u32 {
        match (self.bits, self.sharing) {
            (..=2, _) => 25,
            (..=4, _) | (_, Sharing::Group { .. }) => 21,
            (_, Sharing::Channel(_)) => 13,
            (_, Sharing::Tensor) if self.activation == Activation::Dynamic => 11,
            (_, Sharing::Tensor) => 10,
        }
    }
}

fn activation(settings: &Settings, written: &Written) -> Result<Activation, SettingsError> {
    let bits = written.activations.bits.or(written.scheme.map(|scheme| scheme.activation_bits)).unwrap_or(8);
    let key = if written.activations.bits.is_some() { "activations.bits" } else { "scheme" };
    match (bits, written.dynamic) {
        (8, false) => Ok(Activation::Static),
        (8, true) => Ok(Activation::Dynamic),
        (16 | 32, false) => Ok(Activation::Float),
        (16 | 32, true) => Err(settings.error_at("dynamic", "dynamic ranges are of 8-bit activations; say `W8A8`")),
        _ => Err(settings.error_at(key, format!("activations of {bits} bits; they have 8, or 16 or 32 for float"))),
    }
}

/// The axis of channels and groups is filled in for each layer.
fn sharing(settings: &Settings, weights: &Weights, group_size: Option<usize>) -> Result<Sharing, SettingsError> {
    match (weights.granularity, group_size) {
        (_, Some(size)) if size < 2 => Err(settings.error_at("weights.group_size", "a group has at least 2 weights")),
        (None | Some(Granularity::Group), Some(size)) => Ok(Sharing::Group { axis: 0, size }),
        (Some(Granularity::Group), None) => {
            Err(settings.error_at("weights.granularity", "groups need a `group_size`, such as 32"))
        }
        (Some(_), Some(_)) => {
            Err(settings.error_at("weights.granularity", "a group size says `group`; leave one of the two out"))
        }
        (Some(Granularity::Tensor), None) => Ok(Sharing::Tensor),
        (None | Some(Granularity::Channel), None) => Ok(Sharing::Channel(0)),
    }
}

fn rule(settings: &Settings, written: &ActivationTable) -> Result<RangeRule, SettingsError> {
    let percentile = written.percentile.unwrap_or(99.999);
    if !(50.0..=100.0).contains(&percentile) {
        return Err(settings.error_at("activations.percentile", "it is between 50 and 100, such as 99.999"));
    }
    let power = written.power.unwrap_or(2.0);
    if !(1.0..=8.0).contains(&power) {
        return Err(settings.error_at("activations.power", "it is between 1 and 8; 2 is the squared error"));
    }
    let codes = if written.symmetric { Codes::signed(8) } else { Codes::unsigned(8) };
    Ok(RangeRule { calibrate: written.calibrate, percentile, power, is_symmetric: written.symmetric, codes })
}

fn operators(settings: &Settings, written: &Written, activation: Activation) -> Result<Operators, SettingsError> {
    let is_product = |operator: &Operator| matches!(operator, Operator::MatMul | Operator::Gemm);
    match (&written.operators, activation) {
        (Some(operators), Activation::Dynamic) if !operators.iter().all(is_product) => {
            Err(settings.error_at("operators", "dynamic ranges are for `MatMul` and `Gemm`"))
        }
        (Some(operators), _) => Ok(Operators(operators.clone())),
        (None, Activation::Dynamic) => Ok(Operators(vec![Operator::MatMul, Operator::Gemm])),
        (None, _) => Ok(Operators::all()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Quantize, SettingsError> {
        Quantize::read(&Settings::from_toml("recipe.toml", text).unwrap())
    }

    #[test]
    fn the_settings_of_the_presets_are_read() {
        let int8 =
            read("scheme = \"W8A8\"\nweights = { granularity = \"channel\" }\nactivations = { calibrate = \"mse\" }");
        let int8 = int8.unwrap();
        assert_eq!((int8.activation, int8.sharing, int8.needed_opset()), (Activation::Static, Sharing::Channel(0), 13));
        assert_eq!(int8.rule.calibrate, Calibrate::Mse);
        let dynamic = read("scheme = \"W8A8\"\ndynamic = true\noperators = [\"MatMul\", \"Gemm\"]").unwrap();
        assert_eq!(dynamic.activation, Activation::Dynamic);
        assert!(dynamic.operators.holds("Gemm") && !dynamic.operators.holds("Conv"));
        let int4 = read("scheme = \"W4A32-g32\"").unwrap();
        assert_eq!((int4.activation, int4.needed_opset()), (Activation::Float, 21));
        assert_eq!(int4.sharing, Sharing::Group { axis: 0, size: 32 });
        assert!(int4.clips_weights);
        assert_eq!(read("scheme = \"W2A32\"").unwrap().needed_opset(), 25);
    }

    #[test]
    fn what_contradicts_itself_is_refused_at_its_key() {
        for (text, key) in [
            ("scheme = \"W32A8\"", "scheme"),
            ("weights = { bits = 9 }", "weights.bits"),
            ("scheme = \"W8A32\"\ndynamic = true", "dynamic"),
            ("dynamic = true\noperators = [\"Conv\"]", "operators"),
            ("weights = { granularity = \"group\" }", "weights.granularity"),
            ("weights = { granularity = \"channel\", group_size = 32 }", "weights.granularity"),
            ("activations = { percentile = 5.0 }", "activations.percentile"),
            ("activations = { samples = 0 }", "activations.samples"),
            ("activations = { calibrate = \"mse\", momentum = 0.9 }", "activations.momentum"),
            ("operators = [\"Softmax\"]", "operators[0]"),
            ("sheme = \"W8A8\"", "sheme"),
        ] {
            assert_eq!(read(text).unwrap_err().key, key, "{text}");
        }
    }
}
