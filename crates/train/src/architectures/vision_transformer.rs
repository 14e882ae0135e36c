//! A small vision transformer: patches as words, norms before attention and before the two layers after it, the mean of all
//! words for the answer.

use lissom_graph::{Attribute, Model, ValueId};
use lissom_recipe::{Settings, SettingsError};
use lissom_tensor::Tensor;
use serde::Deserialize;

use super::net::{Draw, Net};
use super::{Architecture, ArchitectureSpec, not_zero};
use crate::TrainError;

pub(super) const SPEC: ArchitectureSpec = ArchitectureSpec {
    name: "vision_transformer",
    summary: "attention over patches of small images",
    source: "Dosovitskiy et al., ICLR 2021, arXiv:2010.11929; mean instead of a class word: Beyer et al. 2022, arXiv:2205.01580",
    example: "size = 32\npatch = 4\nwidth = 96\ndepth = 6\nheads = 3\nclasses = 10",
    parse: |settings: &Settings| -> Result<Box<dyn Architecture>, SettingsError> {
        let own: VisionTransformer = settings.parse()?;
        let counts = [("classes", own.classes), ("channels", own.channels), ("size", own.size), ("patch", own.patch)];
        not_zero(settings, &counts)?;
        let counts = [("width", own.width), ("depth", own.depth), ("heads", own.heads), ("expansion", own.expansion)];
        not_zero(settings, &counts)?;
        if !own.size.is_multiple_of(own.patch) {
            return Err(settings.error_at("patch", "must divide the size"));
        }
        if !own.width.is_multiple_of(own.heads) {
            return Err(settings.error_at("heads", "must divide the width"));
        }
        Ok(Box::new(own))
    },
};

/// Settings of `vision_transformer`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct VisionTransformer {
    classes: usize,
    /// Channels of the images.
    channels: usize,
    /// Height and width of the images.
    size: usize,
    /// Height and width of a patch.
    patch: usize,
    /// Length of a word.
    width: usize,
    /// Blocks.
    depth: usize,
    heads: usize,
    /// Length of the hidden layer after attention, in widths.
    expansion: usize,
}

impl Default for VisionTransformer {
    fn default() -> Self {
        Self { classes: 10, channels: 3, size: 32, patch: 4, width: 96, depth: 6, heads: 3, expansion: 4 }
    }
}

impl VisionTransformer {
    fn norm(&self, net: &mut Net, name: &str, x: ValueId) -> Result<ValueId, TrainError> {
        let scale = net.filled(&format!("{name}.weight"), &[self.width], 1.0)?;
        let bias = net.filled(&format!("{name}.bias"), &[self.width], 0.0)?;
        let attributes = [("axis", Attribute::from(-1i64)), ("epsilon", Attribute::from(1e-6f32))];
        net.node("LayerNormalization", name, &[x, scale, bias], &attributes)
    }

    /// x · W + b of words.
    fn words(&self, net: &mut Net, name: &str, x: ValueId, [n_out, n_in]: [usize; 2]) -> Result<ValueId, TrainError> {
        let weight = net.drawn(&format!("{name}.weight"), &[n_in, n_out], Draw::Glorot, [n_in, n_out])?;
        let bias = net.filled(&format!("{name}.bias"), &[n_out], 0.0)?;
        let product = net.node("MatMul", name, &[x, weight], &[])?;
        net.node("Add", &format!("{name}.add"), &[product, bias], &[])
    }

    fn attention(&self, net: &mut Net, name: &str, x: ValueId) -> Result<ValueId, TrainError> {
        let (square, length) = ([self.width; 2], self.width / self.heads);
        let split = net.integers(&format!("{name}.split"), &[0, 0, self.heads as i64, length as i64]);
        let mut heads = Vec::with_capacity(3);
        for (what, order) in [("query", [0i64, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])] {
            let name = format!("{name}.{what}");
            let words = self.words(net, &name, x, square)?;
            let split = net.node("Reshape", &format!("{name}.split"), &[words, split], &[])?;
            let perm = [("perm", Attribute::from(order.to_vec()))];
            heads.push(net.node("Transpose", &format!("{name}.transpose"), &[split], &perm)?);
        }
        let products = net.node("MatMul", &format!("{name}.products"), &[heads[0], heads[1]], &[])?;
        let factor = net.constant(&format!("{name}.factor"), Tensor::scalar((length as f32).sqrt().recip()));
        let scaled = net.node("Mul", &format!("{name}.scaled"), &[products, factor], &[])?;
        let axis = [("axis", Attribute::from(-1i64))];
        let shares = net.node("Softmax", &format!("{name}.softmax"), &[scaled], &axis)?;
        let mixed = net.node("MatMul", &format!("{name}.mixed"), &[shares, heads[2]], &[])?;
        let perm = [("perm", Attribute::from(vec![0i64, 2, 1, 3]))];
        let turned = net.node("Transpose", &format!("{name}.turned"), &[mixed], &perm)?;
        let join = net.integers(&format!("{name}.join"), &[0, 0, self.width as i64]);
        let joined = net.node("Reshape", &format!("{name}.joined"), &[turned, join], &[])?;
        self.words(net, &format!("{name}.output"), joined, square)
    }

    fn block(&self, net: &mut Net, name: &str, x: ValueId) -> Result<ValueId, TrainError> {
        let norm = self.norm(net, &format!("{name}.norm1"), x)?;
        let attended = self.attention(net, &format!("{name}.attention"), norm)?;
        let x = net.node("Add", &format!("{name}.add1"), &[x, attended], &[])?;
        let norm = self.norm(net, &format!("{name}.norm2"), x)?;
        let wide = self.width * self.expansion;
        let hidden = self.words(net, &format!("{name}.linear1"), norm, [wide, self.width])?;
        let hidden = net.node("Gelu", &format!("{name}.gelu"), &[hidden], &[])?;
        let hidden = self.words(net, &format!("{name}.linear2"), hidden, [self.width, wide])?;
        net.node("Add", &format!("{name}.add2"), &[x, hidden], &[])
    }
}

impl Architecture for VisionTransformer {
    fn build(&self, seed: u64) -> Result<Model, TrainError> {
        let (mut net, x) = Net::new(SPEC.name, &[self.channels, self.size, self.size], seed);
        let n_words = (self.size / self.patch).pow(2);
        let fan_in = self.channels * self.patch * self.patch;
        let shape = [self.width, self.channels, self.patch, self.patch];
        let weight = net.drawn("patches.weight", &shape, Draw::Glorot, [fan_in, self.width])?;
        let bias = net.filled("patches.bias", &[self.width], 0.0)?;
        let size = Attribute::from(vec![self.patch as i64; 2]);
        let attributes = [("kernel_shape", size.clone()), ("strides", size)];
        let patches = net.node("Conv", "patches", &[x, weight, bias], &attributes)?;
        let flat = net.integers("patches.shape", &[0, self.width as i64, n_words as i64]);
        let flat = net.node("Reshape", "patches.flat", &[patches, flat], &[])?;
        let words = net.node("Transpose", "patches.words", &[flat], &[("perm", Attribute::from(vec![0i64, 2, 1]))])?;
        let shape = [1, n_words, self.width];
        let positions = net.drawn("positions.weight", &shape, Draw::Normal(0.02), [1, 1])?;
        let mut x = net.node("Add", "positions", &[words, positions], &[])?;
        for block in 0..self.depth {
            x = self.block(&mut net, &format!("block{}", block + 1), x)?;
        }
        x = self.norm(&mut net, "norm", x)?;
        let axes = net.integers("pool.axes", &[1]);
        let pooled = net.node("ReduceMean", "pool", &[x, axes], &[("keepdims", Attribute::from(0i64))])?;
        let scores = net.linear("classifier", pooled, [self.classes, self.width], Draw::Glorot)?;
        net.finish(scores)
    }
}
