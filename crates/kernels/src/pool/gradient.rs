//! The gradients of pooling.

use super::{Kernel, Pool, PoolShape, check, lanes};
use crate::conv::Images;
use crate::error::ShapeError;
use crate::gemm::pointer;
use crate::threads::{Shareable, Threads};

/// Channels of a task.
const CHANNELS: usize = 64;

/// What the gradient of a [`Pool::Max`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// The input, `[n, h, w, channels]`.
    pub x: &'a [f32],
    /// The output, `[n, h', w', channels]`. Without it the maxima are looked for again.
    pub y: Option<&'a [f32]>,
}

impl Kernel {
    /// [`max_gradient`] and [`average_gradient`] with this variant.
    ///
    /// # Errors
    /// As [`max_gradient`].
    pub fn gradient(
        &self,
        threads: &Threads,
        dy: &[f32],
        forward: Option<Forward<'_>>,
        images: Images,
        shape: &PoolShape,
        dx: &mut [f32],
    ) -> Result<(), ShapeError> {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
        let [out_h, out_w] = check(dx.len(), images, shape, dy.len())?;
        let is_max = usize::from(shape.op == Pool::Max);
        ShapeError::require(usize::from(forward.is_some()) == is_max, "the pool", is_max, "a maximum, or an average")?;
        let x = forward.map(|forward| forward.x);
        let y = forward.and_then(|forward| forward.y);
        ShapeError::expect("x", x.map_or(dx.len(), <[f32]>::len), dx.len())?;
        ShapeError::expect("y", y.map_or(dy.len(), <[f32]>::len), dy.len())?;
        let (Images { n, h, w }, channels) = (images, shape.channels);
        let strips = channels.div_ceil(CHANNELS);
        let to = Shareable(dx.as_mut_ptr());
        threads.run(n * strips, |task| {
            let (image, start) = (task / strips, task % strips * CHANNELS);
            let (own, out) = (image * h * w * channels + start, image * out_h * out_w * channels + start);
            // SAFETY: channels of images are disjoint; lengths checked; this CPU can run the variant.
            unsafe {
                (self.gradient)(&lanes::Gradient {
                    shape: *shape,
                    h,
                    w,
                    out_h,
                    out_w,
                    width: CHANNELS.min(channels - start),
                    dy: dy.as_ptr().wrapping_add(out),
                    x: pointer(x).wrapping_add(own),
                    y: y.map_or(std::ptr::null(), |y| y.as_ptr().wrapping_add(out)),
                    dx: to.at(own),
                    is_tiled: shape.is_tiled(h, w),
                });
            }
        });
        Ok(())
    }
}

impl PoolShape {
    /// True if every pixel is in one window.
    fn is_tiled(&self, h: usize, w: usize) -> bool {
        let window = &self.window;
        let [tall, wide] = window.kernel;
        window.stride == window.kernel
            && (window.dilation == [1, 1])
            && window.pads == [0; 4]
            && h.is_multiple_of(tall)
            && w.is_multiple_of(wide)
    }
}

/// The gradient of the input of a [`Pool::Max`]: that of an output goes to the first maximum of its window, in a window with a NaN to its
/// first pixel.
///
/// # Errors
/// [`ShapeError`] if a length differs, the window does not fit, or the pool is an average.
pub fn max_gradient(
    threads: &Threads,
    dy: &[f32],
    forward: Forward<'_>,
    images: Images,
    shape: &PoolShape,
    dx: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().gradient(threads, dy, Some(forward), images, shape, dx)
}

/// The gradient of the input of an average: that of an output in equal parts to the pixels of its window, divided as the sum was.
///
/// # Errors
/// [`ShapeError`] if a length differs, the window does not fit, or the pool is a maximum.
pub fn average_gradient(
    threads: &Threads,
    dy: &[f32],
    images: Images,
    shape: &PoolShape,
    dx: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().gradient(threads, dy, None, images, shape, dx)
}

/// The gradient of the input of a global average of `[n, pixels, channels]` by that of its output, `[n, channels]`.
///
/// # Errors
/// [`ShapeError`] if a length differs.
pub fn global_average_gradient(
    threads: &Threads,
    dy: &[f32],
    [n, pixels, channels]: [usize; 3],
    dx: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("dy", dy.len(), ShapeError::product("dy", &[n, channels])?)?;
    ShapeError::expect("dx", dx.len(), ShapeError::product("dx", &[n, pixels, channels])?)?;
    if dx.is_empty() {
        return Ok(());
    }
    threads.run_chunks(dx, pixels * channels, |image, dx| {
        let (first, others) = dx.split_at_mut(channels);
        for (dx, &dy) in first.iter_mut().zip(&dy[image * channels..]) {
            *dx = dy / pixels as f32;
        }
        others.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(first));
    });
    Ok(())
}
