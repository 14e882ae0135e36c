//! How many weights of a layer are zero, and whether the others come in groups.

use lissom_kernels::conv::ConvShape;

use super::Order;

/// Shares of a weight in percent, rounded up: measured choices of layers that are nearly alike are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Zeros {
    /// Weights that are not zero.
    pub nonzero_percent: u8,
    /// Groups of four adjacent inputs of one output that are not all zero.
    pub quads_percent: u8,
}

impl Zeros {
    /// None at all.
    pub const NONE: Self = Self { nonzero_percent: 100, quads_percent: 100 };

    /// Counts; `is_zero` is asked with a weight and its output channel. Weights that look dense everywhere are taken
    /// for it.
    pub fn count<T: Copy>(
        shape: &ConvShape,
        order: Order,
        values: &[T],
        is_zero: impl Fn(T, usize) -> bool + Copy,
    ) -> Self {
        let taps: usize = shape.window.kernel.iter().product();
        // Adjacent inputs are `step` apart; lines of `n_inputs` of them begin at the positions of `starts`.
        let (n_inputs, step) = match order {
            Order::Filters => (shape.c_in / shape.groups.max(1), taps),
            Order::Columns => (shape.c_in, shape.c_out),
        };
        let (len, block) = (values.len(), n_inputs * step);
        if len == 0 || block == 0 || !len.is_multiple_of(block) {
            return Self::NONE;
        }
        let channel = |block: usize, offset: usize| if order == Order::Filters { block } else { offset };
        if looks_dense(values, |value, at| is_zero(value, channel(at / block, at % block % step))) {
            return Self::NONE;
        }
        let (mut nonzeros, mut quads, mut full_quads) = (0usize, 0usize, 0usize);
        for (index, values) in values.chunks_exact(block).enumerate() {
            quads += n_inputs.div_ceil(4) * step;
            if step == 1 {
                for quad in values.chunks(4) {
                    let found = quad.iter().filter(|&&value| !is_zero(value, channel(index, 0))).count();
                    nonzeros += found;
                    full_quads += usize::from(found > 0);
                }
                continue;
            }
            let mut found = vec![0u8; step];
            for quads in values.chunks(4 * step) {
                found.fill(0);
                for line in quads.chunks_exact(step) {
                    for (offset, (found, &value)) in found.iter_mut().zip(line).enumerate() {
                        *found += u8::from(!is_zero(value, channel(index, offset)));
                    }
                }
                nonzeros += found.iter().map(|&found| usize::from(found)).sum::<usize>();
                full_quads += found.iter().filter(|&&found| found > 0).count();
            }
        }
        let percent = |part: usize, whole: usize| (part * 100).div_ceil(whole.max(1)).min(100) as u8;
        Self { nonzero_percent: percent(nonzeros, len), quads_percent: percent(full_quads, quads) }
    }

    /// Share of weights that are not zero, 0..1.
    pub fn density(&self) -> f64 {
        f64::from(self.nonzero_percent) / 100.0
    }

    /// Share of groups of four that are not all zero, 0..1.
    pub fn quad_density(&self) -> f64 {
        f64::from(self.quads_percent) / 100.0
    }
}

/// Looks at short runs all over the weight: true if hardly any element there is zero. `is_zero` is asked with a weight and
/// its position.
fn looks_dense<T: Copy>(values: &[T], is_zero: impl Fn(T, usize) -> bool) -> bool {
    const RUN: usize = 16;
    const RUNS: usize = 512;
    if values.len() < 4 * RUN * RUNS {
        return false;
    }
    let zeros = (0..RUNS).flat_map(|run| {
        let first = (values.len() - RUN) / (RUNS - 1) * run;
        first..first + RUN
    });
    zeros.filter(|&at| is_zero(values[at], at)).count() <= RUN * RUNS / 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use lissom_kernels::conv::Window;

    #[test]
    fn groups_of_four_run_along_the_input_in_both_orders() {
        // 2 outputs, 8 inputs: the first output keeps inputs 0..4, the second inputs 1 and 5.
        let rows = [[1, 1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1, 0, 0]];
        let shape = ConvShape { window: Window::POINT, c_in: 8, c_out: 2, groups: 1 };
        let filters: Vec<i32> = rows.concat();
        let columns: Vec<i32> = (0..8).flat_map(|k| [rows[0][k], rows[1][k]]).collect();
        let expected = Zeros { nonzero_percent: 38, quads_percent: 75 };
        assert_eq!(Zeros::count(&shape, Order::Filters, &filters, |value, _| value == 0), expected);
        assert_eq!(Zeros::count(&shape, Order::Columns, &columns, |value, _| value == 0), expected);
    }

    #[test]
    fn taps_of_a_convolution_are_grouped_one_by_one() {
        let window = Window { kernel: [1, 2], ..Window::POINT };
        let shape = ConvShape { window, c_in: 4, c_out: 1, groups: 1 };
        // [c_in, taps]: only the first tap has weights.
        let weight = [1, 0, 0, 0, 0, 0, 1, 0];
        let zeros = Zeros::count(&shape, Order::Filters, &weight, |value, _| value == 0);
        assert_eq!(zeros, Zeros { nonzero_percent: 25, quads_percent: 50 });
    }
}
