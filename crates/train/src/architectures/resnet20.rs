//! The residual networks for small images: three stages of blocks of two 3×3 convolutions. Three blocks a stage make ResNet-20,
//! nine ResNet-56.
//!
//! Where the size halves, the shortcut either takes every second pixel and pads channels with zeros (option A of the paper) or
//! is a 1×1 convolution with a norm (option B).

use lissom_graph::{Attribute, Model, ValueId};
use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::net::{Draw, Net};
use super::{Architecture, ArchitectureSpec, not_zero};
use crate::TrainError;

pub(super) const SPEC: ArchitectureSpec = ArchitectureSpec {
    name: "resnet20",
    summary: "residual network for small images, 0.27 million weights",
    source: "He et al., CVPR 2016, arXiv:1512.03385, section 4.2",
    example: "classes = 10\nshortcut = \"pad\"",
    parse: |settings: &Settings| -> Result<Box<dyn Architecture>, SettingsError> {
        let own: ResNet20 = settings.parse()?;
        let counts = [("classes", own.classes), ("channels", own.channels), ("size", own.size)];
        not_zero(settings, &counts)?;
        not_zero(settings, &[("width", own.width), ("blocks", own.blocks)])?;
        if !own.size.is_multiple_of(4) {
            return Err(settings.error_at("size", "must be a multiple of 4"));
        }
        Ok(Box::new(own))
    },
};

/// Settings of `resnet20`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ResNet20 {
    classes: usize,
    /// Channels of the images.
    channels: usize,
    /// Height and width of the images.
    size: usize,
    /// Channels of the first stage; each further one has twice as many.
    width: usize,
    /// Blocks a stage.
    blocks: usize,
    shortcut: Shortcut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shortcut {
    Pad,
    Conv,
}

impl Default for ResNet20 {
    fn default() -> Self {
        Self { classes: 10, channels: 3, size: 32, width: 16, blocks: 3, shortcut: Shortcut::Pad }
    }
}

impl ResNet20 {
    fn shortcut(&self, net: &mut Net, name: &str, x: ValueId, c_in: usize) -> Result<ValueId, TrainError> {
        if self.shortcut == Shortcut::Conv {
            let conv = net.conv(&format!("{name}.shortcut.conv"), x, [2 * c_in, c_in], [1, 2, 1])?;
            return net.batch_norm(&format!("{name}.shortcut.bn"), conv, 2 * c_in);
        }
        let name = format!("{name}.shortcut");
        let zeros = net.integers(&format!("{name}.starts"), &[0, 0]);
        let ends = net.integers(&format!("{name}.ends"), &[i64::MAX, i64::MAX]);
        let axes = net.integers(&format!("{name}.axes"), &[2, 3]);
        let steps = net.integers(&format!("{name}.steps"), &[2, 2]);
        let every_second = net.node("Slice", &format!("{name}.slice"), &[x, zeros, ends, axes, steps], &[])?;
        let half = (c_in / 2) as i64;
        let pads = [0, half, 0, 0, 0, c_in as i64 - half, 0, 0];
        let pads = net.integers(&format!("{name}.pads"), &pads);
        net.node("Pad", &format!("{name}.pad"), &[every_second, pads], &[("mode", Attribute::from("constant"))])
    }

    fn block(&self, net: &mut Net, name: &str, x: ValueId, c: [usize; 2]) -> Result<ValueId, TrainError> {
        let [c_out, c_in] = c;
        let stride = if c_out == c_in { 1 } else { 2 };
        let conv1 = net.conv(&format!("{name}.conv1"), x, c, [3, stride, 1])?;
        let bn1 = net.batch_norm(&format!("{name}.bn1"), conv1, c_out)?;
        let relu1 = net.relu(&format!("{name}.relu1"), bn1)?;
        let conv2 = net.conv(&format!("{name}.conv2"), relu1, [c_out, c_out], [3, 1, 1])?;
        let bn2 = net.batch_norm(&format!("{name}.bn2"), conv2, c_out)?;
        let around = if stride == 1 { x } else { self.shortcut(net, name, x, c_in)? };
        let sum = net.node("Add", &format!("{name}.add"), &[bn2, around], &[])?;
        net.relu(&format!("{name}.relu2"), sum)
    }
}

impl Architecture for ResNet20 {
    fn build(&self, seed: u64) -> Result<Model, TrainError> {
        let (mut net, x) = Net::new(SPEC.name, &[self.channels, self.size, self.size], seed);
        let mut c_in = self.width;
        let mut x = net.conv("conv1", x, [c_in, self.channels], [3, 1, 1])?;
        x = net.batch_norm("bn1", x, c_in)?;
        x = net.relu("relu1", x)?;
        for stage in 0..3 {
            let c_out = self.width << stage;
            for block in 0..self.blocks {
                x = self.block(&mut net, &format!("layer{}.{block}", stage + 1), x, [c_out, c_in])?;
                c_in = c_out;
            }
        }
        x = net.pooled(x)?;
        let scores = net.linear("classifier", x, [self.classes, c_in], Draw::Glorot)?;
        net.finish(scores)
    }
}
