//! Links the program without libc and without start files, as a static position-independent file.

use std::{env, fs, path::Path};

/// Unwind tables would be a quarter of the program, which aborts and never unwinds. The compiler
/// writes them all the same, so the linker drops them. Symbols for a dynamic linker it writes even
/// where no such linker is asked for; with their section headers they are 280 bytes.
const LINKER_SCRIPT: &str = "SECTIONS { /DISCARD/ : { \
    *(.eh_frame) *(.eh_frame_hdr) *(.ARM.exidx*) *(.ARM.extab*) *(.comment) \
    *(.dynsym) *(.dynstr) *(.hash) *(.gnu.hash) \
} } INSERT AFTER .rodata;\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let directory = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let script = Path::new(&directory).join("discard.ld");
    fs::write(&script, LINKER_SCRIPT).expect("OUT_DIR is writable");

    // For the program only: a test binary linked without start files would crash at once.
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static-pie",
        "-Wl,--no-eh-frame-hdr",
        "-Wl,--build-id=none",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
}
