//! Layers of real networks, and how long they are measured.

// Every bench has a copy of this module and uses a part of it.
#![allow(dead_code)]

use std::time::Duration;

use criterion::Criterion;
use lissom_kernels::conv::{ConvShape, Images, Window};

/// Short: the variants of one kernel are compared, not the third digit of a time.
pub fn criterion() -> Criterion {
    let short = Criterion::default().sample_size(10).without_plots();
    short.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400)).configure_from_args()
}

/// `[m, k, n]`: pointwise convolutions and the classifier of ResNet-50, MiniLM with 128 tokens.
pub const PRODUCTS: &[[usize; 3]] = &[[3136, 64, 256], [196, 1024, 256], [1, 2048, 1000], [128, 384, 1536]];

/// A convolution over one square image.
pub struct Layer {
    /// Network, kernel, channels and size.
    pub name: &'static str,
    /// Weights and window.
    pub shape: ConvShape,
    /// The image.
    pub images: Images,
    /// Pixels of the output.
    pub pixels: usize,
}

/// The kinds of layers in ResNet-50 and MobileNet v1.
pub fn convolutions() -> Vec<Layer> {
    vec![
        layer("resnet50 7x7/2 3-64 at 224", [7, 2, 3, 64, 1, 224]),
        layer("resnet50 1x1 64-256 at 56", [1, 1, 64, 256, 1, 56]),
        layer("resnet50 3x3 128-128 at 28", [3, 1, 128, 128, 1, 28]),
        layer("resnet50 3x3 512-512 at 7", [3, 1, 512, 512, 1, 7]),
        layer("mobilenetv1 3x3 depthwise 128 at 56", [3, 1, 128, 128, 128, 56]),
        layer("mobilenetv1 3x3/2 depthwise 512 at 14", [3, 2, 512, 512, 512, 14]),
    ]
}

fn layer(name: &'static str, [kernel, stride, c_in, c_out, groups, size]: [usize; 6]) -> Layer {
    let window = Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1, 1], pads: [kernel / 2; 4] };
    let [h, w] = window.output_size(size, size).expect("the window fits");
    let shape = ConvShape { window, c_in, c_out, groups };
    Layer { name, shape, images: Images { n: 1, h: size, w: size }, pixels: h * w }
}
