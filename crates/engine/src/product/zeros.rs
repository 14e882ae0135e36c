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
    /// Groups of four adjacent outputs of one input that are not all zero.
    pub output_quads_percent: u8,
    /// Of each four adjacent inputs of an output, at most two are not zero, and inputs are a multiple of four.
    pub is_two_of_four: bool,
}

impl Zeros {
    /// None at all.
    pub const NONE: Self =
        Self { nonzero_percent: 100, quads_percent: 100, output_quads_percent: 100, is_two_of_four: false };

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
        let (mut nonzeros, mut quads, mut full_quads, mut fullest) = (0usize, 0usize, 0usize, 0usize);
        for (index, values) in values.chunks_exact(block).enumerate() {
            quads += n_inputs.div_ceil(4) * step;
            if step == 1 {
                for quad in values.chunks(4) {
                    let found = quad.iter().filter(|&&value| !is_zero(value, channel(index, 0))).count();
                    nonzeros += found;
                    fullest = fullest.max(found);
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
                fullest = fullest.max(found.iter().copied().max().unwrap_or(0).into());
                full_quads += found.iter().filter(|&&found| found > 0).count();
            }
        }
        let percent = |part: usize, whole: usize| (part * 100).div_ceil(whole.max(1)).min(100) as u8;
        let is_nonzero = |value, channel: usize| !is_zero(value, channel);
        let [full_outputs, outputs] = match order {
            Order::Filters => outputs_of_filters(values, block, is_nonzero),
            Order::Columns => outputs_of_columns(values, step, is_nonzero),
        };
        Self {
            nonzero_percent: percent(nonzeros, len),
            quads_percent: percent(full_quads, quads),
            output_quads_percent: percent(full_outputs, outputs),
            is_two_of_four: fullest <= 2 && n_inputs.is_multiple_of(4),
        }
    }

    /// Share of weights that are not zero, 0..1.
    pub fn density(&self) -> f64 {
        f64::from(self.nonzero_percent) / 100.0
    }

    /// Share of groups of four inputs that are not all zero, 0..1.
    pub fn quad_density(&self) -> f64 {
        f64::from(self.quads_percent) / 100.0
    }

    /// Share of groups of four outputs that are not all zero, 0..1.
    pub fn output_quad_density(&self) -> f64 {
        f64::from(self.output_quads_percent) / 100.0
    }

    /// True if a share of groups, in percent, is about that of weights: zeros come in such groups.
    pub fn come_in(&self, groups_percent: u8) -> bool {
        2 * u32::from(groups_percent) <= 3 * u32::from(self.nonzero_percent)
    }
}

/// Groups of four adjacent outputs that are not all zero, and how many there are, of `[c_out, block]`. `is_nonzero` is asked
/// with a weight and its output channel.
fn outputs_of_filters<T: Copy>(values: &[T], block: usize, is_nonzero: impl Fn(T, usize) -> bool) -> [usize; 2] {
    let mut found = vec![false; block];
    let [mut full, mut all] = [0, 0];
    for (quad, filters) in values.chunks(4 * block).enumerate() {
        found.fill(false);
        for (index, filter) in filters.chunks_exact(block).enumerate() {
            found.iter_mut().zip(filter).for_each(|(found, &value)| *found |= is_nonzero(value, 4 * quad + index));
        }
        full += found.iter().filter(|&&found| found).count();
        all += block;
    }
    [full, all]
}

/// The same of `[k, n]`.
fn outputs_of_columns<T: Copy>(values: &[T], n: usize, is_nonzero: impl Fn(T, usize) -> bool) -> [usize; 2] {
    let [mut full, mut all] = [0, 0];
    for line in values.chunks_exact(n) {
        for (quad, outputs) in line.chunks(4).enumerate() {
            full += usize::from(outputs.iter().enumerate().any(|(at, &value)| is_nonzero(value, 4 * quad + at)));
            all += 1;
        }
    }
    [full, all]
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
        let expected =
            Zeros { nonzero_percent: 38, quads_percent: 75, output_quads_percent: 63, is_two_of_four: false };
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
        let expected = Zeros { nonzero_percent: 25, quads_percent: 50, output_quads_percent: 25, is_two_of_four: true };
        assert_eq!(zeros, expected);
    }

    #[test]
    fn two_of_four_and_blocks_of_outputs_are_told_in_both_orders() {
        // 6 outputs, 8 inputs: the first four outputs keep inputs 1 and 6, the others 2, 3 and 4.
        let is_kept =
            |output: usize, input: usize| if output < 4 { [1, 6].contains(&input) } else { (2..5).contains(&input) };
        let shape = ConvShape { window: Window::POINT, c_in: 8, c_out: 6, groups: 1 };
        let filters: Vec<u8> = (0..48).map(|at| is_kept(at / 8, at % 8).into()).collect();
        let columns: Vec<u8> = (0..48).map(|at| is_kept(at % 6, at / 6).into()).collect();
        let expected =
            Zeros { nonzero_percent: 30, quads_percent: 100, output_quads_percent: 32, is_two_of_four: true };
        assert_eq!(Zeros::count(&shape, Order::Filters, &filters, |value, _| value == 0), expected);
        assert_eq!(Zeros::count(&shape, Order::Columns, &columns, |value, _| value == 0), expected);
    }
}
