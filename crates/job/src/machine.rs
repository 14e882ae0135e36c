//! The machine a job runs on: for reports, and for honest times.

use serde::{Deserialize, Serialize};

/// What the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Instruction sets that kernels use, as found at run time.
    pub features: Vec<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// Operating system and architecture.
    pub os: String,
}

/// Looks the machine up.
pub fn machine() -> Machine {
    Machine {
        cpu: cpu_name().unwrap_or_else(|| "unknown processor".to_owned()),
        features: features(),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<String> {
    let found = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("avx512vbmi", std::arch::is_x86_feature_detected!("avx512vbmi")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    found.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<String> {
    Vec::new()
}

/// Largest resident memory of this process since [`reset_peak_memory`] or its start, in bytes; `None` where the
/// system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Starts counting the peak anew; false where the system cannot.
pub fn reset_peak_memory() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}
