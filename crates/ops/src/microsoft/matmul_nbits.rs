//! `MatMulNBits`: product with a weight of packed codes, a scale each block of its rows.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Storage, Tensor, checked_len};

use crate::numeric::{expect_shape, floats, from_f64};
use crate::product::Product;
use crate::sample_data::{filled, positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "MatMulNBits",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(MatMulNBits::read(node)?)),
    samples: || {
        let attributes = |sample: Sample, bits: i64| {
            sample.with("K", 20i64).with("N", 2i64).with("block_size", 16i64).with("bits", bits)
        };
        let codes = |len: usize| (0..len).map(|i| (i * 37 % 251) as u8).collect::<Vec<u8>>();
        vec![
            attributes(Sample::new([ramp(&[3, 20]), filled(&[2, 2, 8], codes(32)), positive(&[4])]), 4),
            attributes(
                Sample::new([
                    ramp(&[1, 2, 20]),
                    filled(&[2, 2, 16], codes(64)),
                    positive(&[4]),
                    Tensor::vector(vec![100u8, 128, 0, 200]),
                ]),
                8,
            ),
        ]
    },
};

/// `MatMulNBits`: inputs A `[…, k]`, codes `[n, blocks, bytes]`, scales `[n · blocks]`, zero points, group index, bias.
#[derive(Debug, Clone, Copy)]
struct MatMulNBits {
    k: usize,
    n: usize,
    bits: usize,
    block: usize,
}

impl MatMulNBits {
    fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        node.ignore(&["accuracy_level", "weight_prepacked"]); // hints for speed
        let length = |name: &'static str| -> Result<usize, OpError> {
            let value = node.int(name)?.and_then(|value| usize::try_from(value).ok()).filter(|&value| value > 0);
            value.ok_or_else(|| OpError::attribute(name, "must be given and positive"))
        };
        let bits = node.int_or("bits", 4)?;
        if !matches!(bits, 2 | 4 | 8) {
            return Err(OpError::attribute("bits", format!("{bits} is not 2, 4 or 8")));
        }
        if node.has_input(4) {
            return Err(OpError::unsupported("`MatMulNBits` with a group index"));
        }
        Ok(Self { k: length("K")?, n: length("N")?, bits: bits as usize, block: length("block_size")? })
    }

    fn code(&self, packed: &[u8], i: usize) -> f64 {
        let per_byte = 8 / self.bits;
        let mask = (0xff_u16 >> (8 - self.bits)) as u8;
        f64::from(packed[i / per_byte] >> (i % per_byte * self.bits) & mask)
    }

    /// The weight as reals `[k, n]`.
    fn weight(&self, inputs: &Inputs<'_>) -> Result<Vec<f64>, OpError> {
        let (codes, scales) = (inputs.required(1)?, inputs.required(2)?);
        let n_blocks = self.k.div_ceil(self.block);
        let bytes = self.block.saturating_mul(self.bits).div_ceil(8);
        expect_shape(1, codes, &[self.n, n_blocks, bytes])?;
        if scales.len() != self.n.saturating_mul(n_blocks) {
            return Err(OpError::shape(2, scales.shape(), format!("expected {} · {n_blocks} scales", self.n)));
        }
        let scale_values = floats(2, scales)?;
        let packed = codes.as_slice::<u8>()?;
        let zeros = self.zero_points(inputs.optional(3), n_blocks)?;
        let mut weight = vec![0.0; checked_len(DType::F64, &[self.k, self.n])?];
        for column in 0..self.n {
            for row in 0..self.k {
                let block = column * n_blocks + row / self.block;
                let code = self.code(&packed[block * bytes..][..bytes], row % self.block);
                weight[row * self.n + column] = (code - zeros[block]) * scale_values[block];
            }
        }
        Ok(weight)
    }

    /// One zero point each block: packed like the codes, or reals; the middle of the range if left out.
    fn zero_points(&self, given: Option<&Tensor>, n_blocks: usize) -> Result<Vec<f64>, OpError> {
        let Some(given) = given else { return Ok(vec![f64::from(1u32 << (self.bits - 1)); self.n * n_blocks]) };
        let Storage::U8(packed) = given.storage() else {
            let values = floats(3, given)?;
            if values.len() == self.n * n_blocks {
                return Ok(values);
            }
            return Err(OpError::shape(3, given.shape(), format!("expected {} · {n_blocks} zero points", self.n)));
        };
        let bytes = (n_blocks * self.bits).div_ceil(8);
        if packed.len() != self.n * bytes {
            return Err(OpError::shape(3, given.shape(), format!("expected {} · {bytes} bytes", self.n)));
        }
        let rows = packed.chunks_exact(bytes);
        Ok(rows.flat_map(|row| (0..n_blocks).map(|block| self.code(row, block))).collect())
    }
}

impl Op for MatMulNBits {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = inputs.shape(0).and_then(<[_]>::split_last);
        let shape = shape.map(|(_, batch)| batch.iter().cloned().chain([Dim::from(self.n)]).collect());
        Ok(vec![Fact::maybe(inputs.dtype(0), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let product = Product::of(x.shape(), &[self.k, self.n])?;
        let mut values = product.run_f64(&floats(0, x)?, &self.weight(inputs)?);
        if let Some(bias) = inputs.optional(5) {
            expect_shape(5, bias, &[self.n])?;
            let bias = floats(5, bias)?;
            values.iter_mut().enumerate().for_each(|(i, y)| *y += bias[i % self.n]);
        }
        Ok(vec![from_f64(x.dtype(), product.out_shape, values)?])
    }

    fn macs(&self, _inputs: &[Option<Vec<usize>>], outputs: &[Vec<usize>]) -> u64 {
        let Some(out) = outputs.first() else { return 0 };
        out.iter().fold(self.k as u64, |macs, &length| macs.saturating_mul(length as u64))
    }
}
