//! MobileNet v1: each convolution in two, one over positions and one over channels.

use lissom_graph::Model;
use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::net::{Draw, Net};
use super::{Architecture, ArchitectureSpec, not_zero};
use crate::TrainError;

pub(super) const SPEC: ArchitectureSpec = ArchitectureSpec {
    name: "mobilenet_v1",
    summary: "convolutions split into positions and channels, for small devices",
    source: "Howard et al. 2017, arXiv:1704.04861",
    example: "size = 224\nclasses = 1000\nwidth = 1.0",
    parse: |settings: &Settings| -> Result<Box<dyn Architecture>, SettingsError> {
        let own: MobileNetV1 = settings.parse()?;
        let counts = [("classes", own.classes), ("channels", own.channels), ("size", own.size)];
        not_zero(settings, &counts)?;
        if !(own.width > 0.0 && own.width <= 8.0) {
            return Err(settings.error_at("width", "must be more than 0 and at most 8"));
        }
        if !(1..=2).contains(&own.first_stride) {
            return Err(settings.error_at("first_stride", "must be 1 or 2"));
        }
        Ok(Box::new(own))
    },
};

/// Settings of `mobilenet_v1`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MobileNetV1 {
    classes: usize,
    /// Channels of the images.
    channels: usize,
    /// Height and width of the images.
    size: usize,
    /// Factor of all channel counts, rounded to a multiple of 8.
    width: f64,
    /// 2 as published; 1 for images of 32 pixels.
    first_stride: usize,
}

impl Default for MobileNetV1 {
    fn default() -> Self {
        Self { classes: 1000, channels: 3, size: 224, width: 1.0, first_stride: 2 }
    }
}

/// Output channels and stride of each pair of convolutions.
const PAIRS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

impl Architecture for MobileNetV1 {
    fn build(&self, seed: u64) -> Result<Model, TrainError> {
        let scaled = |channels: usize| (((channels as f64 * self.width) / 8.0).round().max(1.0) as usize) * 8;
        let (mut net, x) = Net::new(SPEC.name, &[self.channels, self.size, self.size], seed);
        let mut c_in = scaled(32);
        let mut x = net.conv("conv1", x, [c_in, self.channels], [3, self.first_stride, 1])?;
        x = net.batch_norm("bn1", x, c_in)?;
        x = net.relu("relu1", x)?;
        for (index, (channels, stride)) in PAIRS.into_iter().enumerate() {
            let (name, c_out) = (format!("pair{}", index + 1), scaled(channels));
            x = net.conv(&format!("{name}.positions"), x, [c_in, c_in], [3, stride, c_in])?;
            x = net.batch_norm(&format!("{name}.bn1"), x, c_in)?;
            x = net.relu(&format!("{name}.relu1"), x)?;
            x = net.conv(&format!("{name}.channels"), x, [c_out, c_in], [1, 1, 1])?;
            x = net.batch_norm(&format!("{name}.bn2"), x, c_out)?;
            x = net.relu(&format!("{name}.relu2"), x)?;
            c_in = c_out;
        }
        x = net.pooled(x)?;
        let scores = net.linear("classifier", x, [self.classes, c_in], Draw::Glorot)?;
        net.finish(scores)
    }
}
