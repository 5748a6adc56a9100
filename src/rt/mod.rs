//! What a libc would have done before `main`: relocation, the argument vector, memory functions.
//!
//! # Safety
//! Entered once, from `_start`, with the stack as execve(2) leaves it.
#![allow(unsafe_code)]

mod mem;
mod reloc;

use phasebox::sys::args::Start;

phasebox::start!(crate::rt::reloc::relocate, crate::rt::enter);

/// Finds the arguments on the initial stack and runs the program.
unsafe extern "C" fn enter(stack: *const usize) -> ! {
    // SAFETY: `_start` passes the stack pointer that the kernel gave the process.
    let start = unsafe { Start::from_stack(stack) };
    crate::main(start)
}

/// Nothing in this program panics on purpose; if something does, its checks have failed.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    phasebox::arch::trap()
}

/// Named by precompiled parts of `core`; never called, since panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
