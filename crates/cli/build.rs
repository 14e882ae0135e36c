//! Makes the released program an eighth shorter when it is linked; where that might not work, the program is only longer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Without the tables for unwinding: the program ends where it panics, so only debuggers would read them.
const NO_UNWINDING: &str =
    "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table*) } } INSERT AFTER .text;\n";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|there| there == value);
    if !(is("TARGET", TARGET) && is("HOST", TARGET) && is("PROFILE", "release")) {
        return;
    }
    // Flags may choose another linker, and so do some distributions: they leave Rust's own out.
    if !is("CARGO_ENCODED_RUSTFLAGS", "") || !has_lld() {
        return;
    }
    let argument = |argument: &str| println!("cargo:rustc-link-arg-bins={argument}");
    // What `strip` in the profile asks for is lost with a script.
    argument("-Wl,--strip-all");
    // Functions of the same instructions become one.
    argument("-Wl,--icf=all");
    if loads_packed_relocations() {
        argument("-Wl,-z,pack-relative-relocs");
    }
    let script = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("no_unwinding.ld");
    fs::write(&script, NO_UNWINDING).expect("cargo made the folder");
    argument("-Wl,--no-eh-frame-hdr");
    argument("-T");
    argument(&script.display().to_string());
}

fn has_lld() -> bool {
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let sysroot = answer(Command::new(rustc).args(["--print", "sysroot"]));
    Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("bin/gcc-ld/ld.lld").exists()
}

/// glibc can since 2.36; what is built here runs where the C library is no older.
fn loads_packed_relocations() -> bool {
    let version = answer(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    let numbers = version.trim().rsplit(' ').next().unwrap_or_default().split('.');
    let mut numbers = numbers.map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (2, 36)
}

/// What a command says; nothing if there is none.
fn answer(command: &mut Command) -> String {
    command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
