//! `lissom doctor`: whether this machine and this installation are fit.

use lissom_compress::METHODS;
use lissom_job::machine::{Machine, machine};
use lissom_job::{JobError, SCHEMA_VERSION, VERSION};
use lissom_ops::OPS;
use lissom_recipe::ExitCode;
use serde::Serialize;

use super::Context;

#[derive(Serialize)]
struct Diagnosis {
    schema_version: u32,
    lissom_version: &'static str,
    machine: Machine,
    operators: usize,
    methods: usize,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    is_ok: bool,
    detail: String,
}

/// Runs the verb.
pub(crate) fn doctor(context: &Context) -> Result<ExitCode, JobError> {
    let machine = machine();
    let has = |feature: &str| machine.features.iter().any(|found| found == feature);
    let simd = if has("avx512f") {
        "AVX-512 kernels are used"
    } else if has("avx2") && has("fma") {
        "AVX2 kernels are used"
    } else {
        "only portable kernels are used: expect a tenth of the speed"
    };
    let integers = if has("avx512vnni") { "integer dot products in hardware" } else { "integer products without VNNI" };
    let checks = vec![
        Check { name: "vector instructions", is_ok: has("avx2"), detail: simd.to_owned() },
        Check { name: "int8", is_ok: has("avx512vnni"), detail: integers.to_owned() },
        temporary_folder(),
    ];
    let diagnosis = Diagnosis {
        schema_version: SCHEMA_VERSION,
        lissom_version: VERSION,
        operators: OPS.len(),
        methods: METHODS.len(),
        machine,
        checks,
    };
    context.print(&diagnosis, text)?;
    Ok(ExitCode::Done)
}

fn temporary_folder() -> Check {
    let path = std::env::temp_dir().join(format!("lissom-doctor-{}", std::process::id()));
    let result = std::fs::write(&path, b"x").and_then(|()| std::fs::remove_file(&path));
    let detail = match &result {
        Ok(()) => "can be written".to_owned(),
        Err(error) => error.to_string(),
    };
    Check { name: "temporary folder", is_ok: result.is_ok(), detail }
}

fn text(diagnosis: &Diagnosis) -> String {
    let machine = &diagnosis.machine;
    let mut text = format!(
        "lissom {}, {} operators, {} methods\n{}, {} cores, {}\n{}\n\n",
        diagnosis.lissom_version,
        diagnosis.operators,
        diagnosis.methods,
        machine.cpu,
        machine.cores,
        machine.os,
        machine.features.join(" ")
    );
    for check in &diagnosis.checks {
        text += &format!("{} {}: {}\n", if check.is_ok { "ok  " } else { "warn" }, check.name, check.detail);
    }
    text
}
