//! What this machine could do at best: the yardstick for the speed of kernels.

use crate::simd::Lanes;
use crate::threads::Threads;
use std::hint::black_box;
use std::time::Instant;

/// Limits of all threads together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Multiply-adds of f32 in registers, as 10⁹ operations a second, two each.
    pub f32_gflops: f64,
    /// The same of 8-bit integers: four products an instruction where there is VNNI, two in AVX2's 16-bit lanes.
    pub int8_gops: f64,
    /// Reading 16 MiB a thread again and again, in 10⁹ bytes a second: what comes from beyond L2.
    pub read_gb_per_s: f64,
}

/// Independent sums: more than the latency of a multiply-add times how many begin in a cycle.
const SUMS: usize = 12;
/// Times a loop is repeated; the best counts.
const REPEATS: usize = 8;

/// Measures; takes some 50 ms.
pub fn measure(threads: &Threads) -> Peak {
    let f32_gflops = multiply_adds(threads) * 2e-9;
    Peak { f32_gflops, int8_gops: f32_gflops * products_per_lane(), read_gb_per_s: reads(threads) * 1e-9 }
}

fn products_per_lane() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if crate::isa::has_avx512vnni() {
            return 4.0;
        }
        if crate::isa::has_avx2() {
            return 2.0;
        }
    }
    1.0
}

/// The most of `work` a second over all threads, each of which does `amount`.
fn rate(threads: &Threads, amount: f64, work: impl Fn() + Sync) -> f64 {
    let mut best = 0f64;
    for _ in 0..REPEATS {
        let started = Instant::now();
        threads.run(threads.count(), |_| work());
        best = best.max(amount * threads.count() as f64 / started.elapsed().as_secs_f64());
    }
    best
}

fn multiply_adds(threads: &Threads) -> f64 {
    const STEPS: usize = 200_000;
    let amount = (STEPS * SUMS) as f64;
    #[cfg(target_arch = "x86_64")]
    {
        if crate::isa::has_avx512() {
            // SAFETY: the CPU has what the function needs.
            return rate(threads, amount * 16.0, || unsafe { avx512(STEPS) });
        }
        if crate::isa::has_avx2() {
            // SAFETY: as above.
            return rate(threads, amount * 8.0, || unsafe { avx2(STEPS) });
        }
    }
    // SAFETY: one lane needs nothing.
    rate(threads, amount, || unsafe { sums::<f32>(STEPS) })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn avx512(steps: usize) {
    // SAFETY: the function has the instruction set of the type.
    unsafe { sums::<crate::simd::F32x16>(steps) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(steps: usize) {
    // SAFETY: as above.
    unsafe { sums::<crate::simd::F32x8>(steps) }
}

/// # Safety
/// This CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn sums<V: Lanes>(steps: usize) {
    // SAFETY: the caller's; no memory is touched.
    unsafe {
        let mut sums = [V::splat(black_box(1.0)); SUMS];
        let (factor, term) = (V::splat(black_box(0.999)), V::splat(black_box(0.001)));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, term);
            }
        }
        for sum in sums {
            black_box(sum.sum());
        }
    }
}

/// Bytes a second.
fn reads(threads: &Threads) -> f64 {
    const WORDS: usize = (16 << 20) / 8;
    let words = vec![1u64; WORDS];
    rate(threads, (WORDS * 8) as f64, || {
        // Eight sums, so that additions do not wait for each other.
        let mut sums = [0u64; 8];
        for block in words.as_chunks::<8>().0 {
            for (sum, &word) in sums.iter_mut().zip(block) {
                *sum = sum.wrapping_add(word);
            }
        }
        black_box(sums);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_positive_and_integers_are_no_slower() {
        let peak = measure(&Threads::single());
        assert!(peak.f32_gflops > 0.01 && peak.read_gb_per_s > 0.01, "{peak:?}");
        assert!(peak.int8_gops >= peak.f32_gflops);
    }
}
