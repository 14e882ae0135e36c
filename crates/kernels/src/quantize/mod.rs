//! Linear quantization of whole tensors: f32 to bytes and back, as ONNX `QuantizeLinear` and `DequantizeLinear`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

use crate::error::ShapeError;
use crate::threads::{Shareable, Threads};
use std::sync::OnceLock;

/// Elements whose range one task finds.
const RANGE_TASK: usize = 1 << 15;

/// A variant of the loops.
pub struct Kernel {
    /// `quantize_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    quantize: unsafe fn(*const f32, f32, f32, u8, *mut u8, usize),
    dequantize_u8: unsafe fn(*const u8, f32, f32, *mut f32, usize),
    dequantize_i8: unsafe fn(*const u8, f32, f32, *mut f32, usize),
    add: unsafe fn(&lanes::Sum, [bool; 2], *const u8, *const u8, *mut u8, usize),
    dequantize_add: unsafe fn(bool, *const u8, [f32; 2], *const f32, *mut f32, usize),
    round: unsafe fn(*mut f32, f32, [f32; 2], usize),
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "quantize_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        quantize: avx512::quantize,
        dequantize_u8: avx512::dequantize_u8,
        dequantize_i8: avx512::dequantize_i8,
        add: avx512::add,
        dequantize_add: avx512::dequantize_add,
        round: avx512::round,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "quantize_f32_8_avx2",
        is_supported: crate::isa::has_avx2,
        quantize: avx2::quantize,
        dequantize_u8: avx2::dequantize_u8,
        dequantize_i8: avx2::dequantize_i8,
        add: avx2::add,
        dequantize_add: avx2::dequantize_add,
        round: avx2::round,
    },
    Kernel {
        name: "quantize_f32_1_scalar",
        is_supported: || true,
        quantize: scalar::quantize,
        dequantize_u8: scalar::dequantize_u8,
        dequantize_i8: scalar::dequantize_i8,
        add: scalar::add,
        dequantize_add: scalar::dequantize_add,
        round: scalar::round,
    },
];

/// Elements worth a task.
const TASK: usize = 16384;

/// Quantized elements to read.
#[derive(Debug, Clone, Copy)]
pub enum Bytes<'a> {
    /// Unsigned.
    U8(&'a [u8]),
    /// Signed.
    I8(&'a [i8]),
}

/// Quantized elements to write.
#[derive(Debug)]
pub enum BytesMut<'a> {
    /// Unsigned.
    U8(&'a mut [u8]),
    /// Signed.
    I8(&'a mut [i8]),
}

impl<'a> Bytes<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.raw().len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bits, without their sign.
    pub(crate) fn raw(&self) -> &'a [u8] {
        match *self {
            Self::U8(x) => x,
            // SAFETY: i8 and u8 have the same size and alignment, and every bit pattern is valid in both.
            Self::I8(x) => unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) },
        }
    }

    /// What to xor to the bits to get the value plus 0 (u8) or plus 128 (i8) as u8.
    pub(crate) fn flip(&self) -> u8 {
        if matches!(self, Self::U8(_)) { 0 } else { 0x80 }
    }
}

impl BytesMut<'_> {
    /// The bits, without their sign.
    pub(crate) fn raw_mut(&mut self) -> &mut [u8] {
        match self {
            Self::U8(x) => x,
            // SAFETY: i8 and u8 have the same size and alignment, and every bit pattern is valid in both.
            Self::I8(x) => unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) },
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(x) => x.len(),
            Self::I8(x) => x.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Smallest and largest value.
    pub(crate) fn limits(&self) -> (i32, i32) {
        match self {
            Self::U8(_) => (0, 255),
            Self::I8(_) => (-128, 127),
        }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.raw_mut().as_mut_ptr()
    }
}

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        // Remembered: it is asked for once a row.
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| crate::isa::best(KERNELS, |kernel| kernel.is_supported))
    }

    fn assert_supported(&self) {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
    }

    /// [`quantize`] with this variant.
    ///
    /// # Errors
    /// As [`quantize`].
    pub fn quantize(
        &self,
        threads: &Threads,
        x: &[f32],
        scale: f32,
        zero_point: i32,
        out: &mut BytesMut<'_>,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("out", out.len(), x.len())?;
        // Signed values are computed 128 higher, as unsigned, and their top bit is flipped back.
        let (shift, flip) = match out {
            BytesMut::U8(_) => (zero_point as f32, 0),
            BytesMut::I8(_) => (zero_point as f32 + 128.0, 0x80),
        };
        let to = Shareable(out.as_mut_ptr());
        threads.run(x.len().div_ceil(TASK), |task| {
            let start = task * TASK;
            let n = TASK.min(x.len() - start);
            // SAFETY: parts are disjoint and inside both; this CPU can run the variant.
            unsafe { (self.quantize)(x.as_ptr().add(start), scale, shift, flip, to.at(start), n) }
        });
        Ok(())
    }

    /// [`dequantize`] with this variant.
    ///
    /// # Errors
    /// As [`dequantize`].
    pub fn dequantize(
        &self,
        threads: &Threads,
        x: Bytes<'_>,
        scale: f32,
        zero_point: i32,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("out", out.len(), x.len())?;
        let run = if matches!(x, Bytes::U8(_)) { self.dequantize_u8 } else { self.dequantize_i8 };
        let x = x.raw();
        threads.run_chunks(out, TASK, |index, out| {
            // SAFETY: parts are disjoint and inside both; this CPU can run the variant.
            unsafe { run(x.as_ptr().add(index * TASK), scale, zero_point as f32, out.as_mut_ptr(), out.len()) }
        });
        Ok(())
    }
}

impl Kernel {
    /// [`dequantize_add_row`] with this variant.
    ///
    /// # Errors
    /// As [`dequantize_add_row`].
    pub fn dequantize_add_row(
        &self,
        x: Bytes<'_>,
        scale: f32,
        zero_point: i32,
        row: &[f32],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("out", out.len(), x.len())?;
        let n = row.len();
        let is_fit = out.is_empty() || (n > 0 && out.len().is_multiple_of(n));
        ShapeError::require(is_fit, "the length of `row`", n, "a divisor of the length of `x`")?;
        let (is_signed, grid) = (matches!(x, Bytes::I8(_)), [scale, zero_point as f32]);
        for (out, x) in out.chunks_exact_mut(n.max(1)).zip(x.raw().chunks_exact(n.max(1))) {
            // SAFETY: all three are `n` long; this CPU can run the variant.
            unsafe { (self.dequantize_add)(is_signed, x.as_ptr(), grid, row.as_ptr(), out.as_mut_ptr(), n) }
        }
        Ok(())
    }

    /// [`add_dequantized`] with this variant.
    ///
    /// # Errors
    /// As [`add_dequantized`].
    pub fn add_dequantized(
        &self,
        sums: &mut [f32],
        x: Bytes<'_>,
        scale: f32,
        zero_point: i32,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("x", x.len(), sums.len())?;
        let (is_signed, grid) = (matches!(x, Bytes::I8(_)), [scale, zero_point as f32]);
        let at = sums.as_mut_ptr();
        // SAFETY: equal lengths; an element is read before it is written; this CPU can run the variant.
        unsafe { (self.dequantize_add)(is_signed, x.raw().as_ptr(), grid, at, at, sums.len()) }
        Ok(())
    }

    /// [`round`] with this variant.
    pub fn round(&self, x: &mut [f32], scale: f32, zero_point: i32, codes: [i32; 2]) {
        self.assert_supported();
        let limits = codes.map(|code| code.saturating_sub(zero_point) as f32);
        // SAFETY: `x` is as long as it says; this CPU can run the variant.
        unsafe { (self.round)(x.as_mut_ptr(), scale, limits, x.len()) }
    }
}

/// `out = (x - zero_point) · scale + row` on the calling thread, the row repeated.
///
/// # Errors
/// [`ShapeError`] if the lengths differ, or the row's does not divide them.
pub fn dequantize_add_row(
    x: Bytes<'_>,
    scale: f32,
    zero_point: i32,
    row: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().dequantize_add_row(x, scale, zero_point, row, out)
}

/// `sums = sums + (x - zero_point) · scale` on the calling thread.
///
/// # Errors
/// [`ShapeError`] if the lengths differ.
pub fn add_dequantized(sums: &mut [f32], x: Bytes<'_>, scale: f32, zero_point: i32) -> Result<(), ShapeError> {
    Kernel::best().add_dequantized(sums, x, scale, zero_point)
}

/// [`quantize`] to codes from the first to the second of `codes`, then [`dequantize`], in place on the calling thread.
pub fn round(x: &mut [f32], scale: f32, zero_point: i32, codes: [i32; 2]) {
    Kernel::best().round(x, scale, zero_point, codes);
}

/// A quantized operand of [`add`].
#[derive(Debug, Clone, Copy)]
pub struct Term<'a> {
    /// As many as the output has.
    pub codes: Bytes<'a>,
    /// Of the codes.
    pub zero_point: i32,
    /// `scale / scale_out`.
    pub multiplier: f32,
}

impl Kernel {
    /// [`add`] with this variant.
    ///
    /// # Errors
    /// As [`add`].
    pub fn add(
        &self,
        threads: &Threads,
        [a, b]: [Term<'_>; 2],
        zero_point: i32,
        clamp: [i32; 2],
        out: &mut BytesMut<'_>,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("a", a.codes.len(), out.len())?;
        ShapeError::expect("b", b.codes.len(), out.len())?;
        // As in `quantize`, signed values are computed 128 higher.
        let (lift, flip) = if matches!(out, BytesMut::U8(_)) { (0, 0) } else { (128, 0x80) };
        let shift =
            (zero_point + lift) as f32 - a.zero_point as f32 * a.multiplier - b.zero_point as f32 * b.multiplier;
        let [min, max] = clamp.map(|code| code.saturating_add(lift) as f32);
        let sum = lanes::Sum { a_scale: a.multiplier, b_scale: b.multiplier, shift, min, max, flip };
        let are_signed = [a, b].map(|term| matches!(term.codes, Bytes::I8(_)));
        let (a, b, len) = (a.codes.raw(), b.codes.raw(), out.len());
        let to = Shareable(out.as_mut_ptr());
        threads.run(len.div_ceil(TASK), |task| {
            let start = task * TASK;
            let n = TASK.min(len - start);
            // SAFETY: parts are disjoint and inside all three; this CPU can run the variant.
            unsafe { (self.add)(&sum, are_signed, a.as_ptr().add(start), b.as_ptr().add(start), to.at(start), n) }
        });
        Ok(())
    }
}

/// `out = clamp(round((a - zero_a) · m_a + (b - zero_b) · m_b + zero_point))`, cut to the limits of its type: the sum of two
/// quantized tensors on a third grid. Within one step of adding real numbers and quantizing the sum.
///
/// # Errors
/// [`ShapeError`] if the lengths differ.
pub fn add(
    threads: &Threads,
    terms: [Term<'_>; 2],
    zero_point: i32,
    clamp: [i32; 2],
    out: &mut BytesMut<'_>,
) -> Result<(), ShapeError> {
    Kernel::best().add(threads, terms, zero_point, clamp, out)
}

/// The smallest and largest element, and 0. NaN counts for nothing.
pub fn range(threads: &Threads, x: &[f32]) -> (f32, f32) {
    let mut parts = vec![(0.0, 0.0); x.len().div_ceil(RANGE_TASK)];
    threads.run_chunks(&mut parts, 1, |index, part| {
        let end = x.len().min((index + 1) * RANGE_TASK);
        part[0] = range_of(&x[index * RANGE_TASK..end]);
    });
    parts.iter().fold((0.0, 0.0), |(low, high), part| (part.0.min(low), part.1.max(high)))
}

fn range_of(x: &[f32]) -> (f32, f32) {
    const LANES: usize = 32;
    let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        // Comparisons, not `min`: they are one instruction, and false for NaN.
        for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(block) {
            *low = if x < *low { x } else { *low };
            *high = if x > *high { x } else { *high };
        }
    }
    let ends = low.into_iter().chain(high).chain(rest.iter().copied());
    ends.fold((0.0, 0.0), |(low, high), x| (low.min(x), high.max(x)))
}

/// `out = saturate(round(x / scale) + zero_point)`, ties to even; NaN becomes the smallest value.
///
/// # Errors
/// [`ShapeError`] if the lengths differ.
pub fn quantize(
    threads: &Threads,
    x: &[f32],
    scale: f32,
    zero_point: i32,
    out: &mut BytesMut<'_>,
) -> Result<(), ShapeError> {
    Kernel::best().quantize(threads, x, scale, zero_point, out)
}

/// `out = (x - zero_point) · scale`.
///
/// # Errors
/// [`ShapeError`] if the lengths differ.
pub fn dequantize(
    threads: &Threads,
    x: Bytes<'_>,
    scale: f32,
    zero_point: i32,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().dequantize(threads, x, scale, zero_point, out)
}
