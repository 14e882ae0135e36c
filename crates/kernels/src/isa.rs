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

/// [`has_avx512vnni`] and VBMI: any byte of a vector to any place.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512vnni_vbmi() -> bool {
    has_avx512vnni() && std::arch::is_x86_feature_detected!("avx512vbmi")
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

/// The first of `variants` that this CPU can run. They are listed fastest first, and the last one runs everywhere.
pub(crate) fn best<K>(variants: &'static [K], is_supported: impl Fn(&K) -> fn() -> bool) -> &'static K {
    variants.iter().find(|variant| is_supported(variant)()).unwrap_or(&variants[variants.len() - 1])
}

/// What the CPU calls itself, or the name of its instruction set.
pub fn cpu_name() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        if __cpuid(0x8000_0000).eax >= 0x8000_0004 {
            let leaves = (0x8000_0002..=0x8000_0004).map(__cpuid);
            let words = leaves.flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
            let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).take_while(|&byte| byte != 0).collect();
            return String::from_utf8_lossy(&bytes).trim().to_owned();
        }
    }
    std::env::consts::ARCH.to_owned()
}
