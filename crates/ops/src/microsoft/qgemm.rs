//! `QGemm`: alpha · A · B + C of codes, given as codes or as reals.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, broadcast_shapes, flat_indices};

use crate::gemm::{Gemm, turned};
use crate::matmul_integer::centred;
use crate::numeric::from_f64;
use crate::product::Product;
use crate::qlinear_matmul::requantized;
use crate::quantization::{code_values, encode, only_scale, only_zero_point, scale_values, spread_matrix};
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QGemm",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        Ok(Arc::new(QGemm {
            alpha: node.float_or("alpha", 1.0)?,
            trans_a: node.flag_or("transA", false)?,
            trans_b: node.flag_or("transB", false)?,
        }))
    },
    samples: || {
        let a = || [filled(&[2, 3], vec![11u8, 7, 3, 255, 0, 2]), Tensor::scalar(0.05f32), Tensor::scalar(100u8)];
        let b = || filled(&[2, 3], vec![1i8, -4, 127, -128, 3, 6]);
        let per_column = || [Tensor::vector(vec![0.1f32, 0.3]), Tensor::vector(vec![2i8, -2])];
        let bias = || Tensor::vector(vec![1000i32, -500]);
        let y = || [Tensor::scalar(0.9f32), Tensor::scalar(7u8)];
        let reals = a().into_iter().chain([b()]).chain(per_column()).chain([bias()]);
        vec![
            Sample::new(reals.clone().chain(y())).with("transB", 1i64),
            Sample::new(reals).with("transB", 1i64).with("alpha", 0.5f32),
            Sample::new(
                a().into_iter()
                    .chain([b(), Tensor::scalar(0.1f32), Tensor::scalar(0i8), filled(&[3, 1], vec![9i32, 0, -900])])
                    .chain(y()),
            )
            .with("transA", 1i64),
        ]
    },
};

/// `QGemm`: codes, scale and zero point of A, of B; 32-bit C, which is scaled like the product; scale and zero point of
/// the result, which is real without them.
#[derive(Debug, Clone, Copy)]
struct QGemm {
    alpha: f32,
    trans_a: bool,
    trans_b: bool,
}

impl QGemm {
    /// The same product of reals.
    fn gemm(self) -> Gemm {
        Gemm { alpha: self.alpha, beta: 1.0, trans_a: self.trans_a, trans_b: self.trans_b }
    }
}

impl Op for QGemm {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = match (inputs.optional(7), inputs.optional(8)) {
            (None, _) => inputs.dtype(1),
            (Some(_), Some(zero)) => zero.dtype,
            (Some(_), None) => Some(DType::U8),
        };
        let facts = self.gemm().infer(&Facts(&[inputs.optional(0), inputs.optional(3)]))?;
        Ok(facts.into_iter().map(|fact| Fact { dtype, ..fact }).collect())
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let a = turned(0, inputs.required(0)?, self.trans_a)?;
        let b = turned(3, inputs.required(3)?, self.trans_b)?;
        let product = Product::of(a.shape(), b.shape())?;
        let a_codes = centred(0, &a, 2, inputs.optional(2), true)?;
        let b_codes = centred(3, &b, 5, inputs.optional(5), false)?;
        let mut sums = product.run_f64(&a_codes, &b_codes);
        let shape = product.out_shape;
        if let Some(bias) = inputs.optional(6) {
            if broadcast_shapes(bias.shape(), &shape)? != shape {
                return Err(OpError::shape(6, bias.shape(), format!("does not broadcast to {shape:?}")));
            }
            let values = code_values(6, bias)?;
            if !sums.is_empty() {
                sums.iter_mut().zip(flat_indices(bias.shape(), &shape)).for_each(|(sum, i)| *sum += values[i]);
            }
        }
        let (a_scale, b_scale) = (inputs.required(1)?, inputs.required(4)?);
        let factor = only_scale(1, a_scale)? * f64::from(self.alpha);
        let scales = spread_matrix(4, b_scale, &scale_values(4, b_scale)?, &shape, false)?;
        let Some(y_scale) = inputs.optional(7) else {
            let reals = sums.iter().zip(scales).map(|(&sum, scale)| requantized(sum, factor, scale, 1.0));
            return Ok(vec![from_f64(a_scale.dtype(), shape, reals.collect())?]);
        };
        let zero_point = inputs.optional(8);
        let (y_scale, zero) = (only_scale(7, y_scale)?, only_zero_point(8, zero_point)?);
        let dtype = zero_point.map_or(DType::U8, Tensor::dtype);
        let codes = sums.iter().zip(scales).map(|(&sum, scale)| (requantized(sum, factor, scale, y_scale), zero));
        Ok(vec![encode(dtype, shape, true, codes)?])
    }

    fn macs(&self, inputs: &[Option<Vec<usize>>], outputs: &[Vec<usize>]) -> u64 {
        self.gemm().macs(inputs, outputs)
    }
}
