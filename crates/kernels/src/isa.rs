//! What this CPU has, asked once.

/// AVX-512 F, BW, DQ, VL: what the f32 variants named `avx512` use.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("fma")
}

/// [`has_avx512`] and VNNI: four u8 by s8 products summed into an i32 in one instruction.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512vnni() -> bool {
    has_avx512() && std::arch::is_x86_feature_detected!("avx512vnni")
}

/// [`has_avx512`] and BF16: products of pairs of bf16 summed into an f32.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512bf16() -> bool {
    has_avx512() && std::arch::is_x86_feature_detected!("avx512bf16")
}

/// AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}
