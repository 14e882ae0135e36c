//! Integer layers in f32: codes become real numbers, and codes again behind the product. Sums are exact up to 2^24. For
//! CPUs whose integers are slow, and for layers where requantizing costs more than it saves.

use lissom_kernels::conv::{Channels, Images};
use lissom_kernels::elementwise::{self, Operand, Unary};
use lissom_kernels::qgemm::{Dequantize, Output, Requantize};
use lissom_kernels::quantize::{self, Bytes};
use lissom_kernels::{Activation, Epilogue, ShapeError, Threads};

use super::{Call, FORMS, FloatLayer, FloatProduct, Form, IntegerLayer, IntegerProduct, Order, PackInteger};
use crate::plan::unary_of;

pub(super) const FORM: Form<PackInteger> = Form {
    name: "via f32",
    fits: |traits| traits.k() < 64,
    cost: |traits| (FORMS[0].cost)(traits) + 8.0 * (traits.lengths().0 + 3 * traits.lengths().1) as f64,
    pack,
};

#[derive(Debug)]
struct ViaF32 {
    product: Box<dyn FloatProduct>,
    c_in: usize,
    c_out: usize,
}

fn pack(layer: &IntegerLayer<'_>) -> Result<Box<dyn IntegerProduct>, ShapeError> {
    let IntegerLayer { shape, order, weight, zero_points } = *layer;
    let per_output = (weight.len() / shape.c_out.max(1)).max(1);
    let real = |at: usize, code: i32| {
        let channel = if order == Order::Filters { at / per_output } else { at % shape.c_out.max(1) };
        (code - zero_points.get(channel).or(zero_points.first()).copied().unwrap_or(0)) as f32
    };
    let weight: Vec<f32> = match weight {
        Bytes::U8(codes) => codes.iter().enumerate().map(|(at, &code)| real(at, code.into())).collect(),
        Bytes::I8(codes) => codes.iter().enumerate().map(|(at, &code)| real(at, code.into())).collect(),
    };
    let product = (FORMS[0].pack)(&FloatLayer { shape, order, weight: &weight, rows: 1 })?;
    Ok(Box::new(ViaF32 { product, c_in: shape.c_in, c_out: shape.c_out }))
}

impl IntegerProduct for ViaF32 {
    fn kernel_name(&self) -> &'static str {
        self.product.kernel_name()
    }

    fn size_bytes(&self) -> usize {
        self.product.size_bytes()
    }

    fn run(
        &self,
        threads: &Threads,
        x: Bytes<'_>,
        zero_point: i32,
        images: Images,
        output: &mut Output<'_>,
    ) -> Result<(), ShapeError> {
        let Images { n, h, w } = images;
        ShapeError::expect("input", x.len(), ShapeError::product("input", &[n, h, w, self.c_in])?)?;
        let mut real = vec![0.0; x.len()];
        quantize::dequantize(threads, x, 1.0, zero_point, &mut real)?;
        let len = match output {
            Output::Bytes(_, out) => out.len(),
            Output::F32(_, out) => out.len(),
            Output::I32(out) => out.len(),
        };
        let mut sums = vec![0.0; len];
        let (from, to) = (Channels::Last, Channels::Last);
        let call = Call { threads, x: &real, images, from, to, epilogue: Epilogue::default() };
        self.product.run(&call, &mut sums)?;
        match output {
            Output::I32(out) => {
                out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = sum as i32);
                Ok(())
            }
            Output::F32(finish, out) => self.finish_floats(threads, finish, &sums, out),
            Output::Bytes(finish, out) => self.finish_codes(threads, finish, &mut sums, out),
        }
    }
}

impl ViaF32 {
    /// One number for all columns, or one a column.
    fn columns(&self, values: &[f32]) -> Vec<f32> {
        if let [one] = values { vec![*one; self.c_out] } else { values.to_vec() }
    }

    fn finish_floats(
        &self,
        threads: &Threads,
        finish: &Dequantize<'_>,
        sums: &[f32],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let bias = finish.bias.map_or_else(|| vec![0.0; self.c_out], <[f32]>::to_vec);
        let scales = self.columns(finish.scales);
        let Some(residual) = finish.residual else {
            return elementwise::scale_bias(threads, sums, &scales, &bias, finish.activation, out);
        };
        elementwise::scale_bias(threads, sums, &scales, &bias, Activation::None, out)?;
        elementwise::binary_in_place(threads, elementwise::Binary::Add, out, Operand::Same(residual))?;
        if let Some(op) = unary_of(finish.activation) {
            elementwise::unary_in_place(threads, op, out);
        }
        Ok(())
    }

    fn finish_codes(
        &self,
        threads: &Threads,
        finish: &Requantize<'_>,
        sums: &mut [f32],
        out: &mut quantize::BytesMut<'_>,
    ) -> Result<(), ShapeError> {
        let multipliers = self.columns(finish.multipliers);
        let bias: Vec<f32> = match finish.bias {
            Some(bias) => bias.iter().zip(&multipliers).map(|(&bias, &by)| bias as f32 * by).collect(),
            None => vec![0.0; self.c_out],
        };
        let mut real = vec![0.0; sums.len()];
        elementwise::scale_bias(threads, sums, &multipliers, &bias, Activation::None, &mut real)?;
        if let Some(residual) = finish.residual {
            quantize::dequantize(threads, residual.values, residual.multiplier, residual.zero_point, sums)?;
            elementwise::binary_in_place(threads, elementwise::Binary::Add, &mut real, Operand::Same(sums))?;
        }
        let [min, max] = finish.clamp.map(|code| code.saturating_sub(finish.zero_point) as f32);
        elementwise::unary_in_place(threads, Unary::Clip { min, max }, &mut real);
        quantize::quantize(threads, &real, 1.0, finish.zero_point, out)
    }
}
