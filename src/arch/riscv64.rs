//! RISC-V, 64 bits. The kernel takes the number in a7 and arguments in a0 to a4.

/// `R_RISCV_RELATIVE`.
pub const RELATIVE: u32 = 3;

/// clone(2) takes its flags first.
pub const CLONE_FLAGS: usize = 0;

/// Makes system call `number`, always with five arguments, so that no register is left stale.
///
/// # Safety
/// The arguments must be what that system call expects; pointers must be valid for what it does.
#[inline]
pub unsafe fn syscall5(number: usize, arguments: [usize; 5]) -> usize {
    let [a, b, c, d, e] = arguments;
    // SAFETY: passed on to the caller of this function.
    unsafe { sc::syscall5(number, a, b, c, d, e) }
}

/// Ends the process by an illegal instruction.
#[inline]
pub fn trap() -> ! {
    // SAFETY: unimp raises SIGILL and touches nothing.
    unsafe { core::arch::asm!("unimp", options(noreturn, nomem, nostack)) }
}

/// Writes `_start`: hands the initial stack pointer first to `$relocate`, then to `$enter`.
///
/// Two calls, so that no read of a pointer table can be moved before its relocation.
#[macro_export]
macro_rules! start {
    ($relocate:path, $enter:path) => {
        core::arch::global_asm!(
            ".globl _start",
            ".type _start,@function",
            "_start:",
            "mv s0, zero",
            // The linker may have made addresses relative to gp; not this one, of course.
            ".option push",
            ".option norelax",
            ".weak __global_pointer$",
            ".hidden __global_pointer$",
            "lla gp, __global_pointer$",
            ".option pop",
            "mv s1, sp",
            "mv a0, sp",
            "andi sp, sp, -16",
            "call {relocate}",
            "mv a0, s1",
            "call {enter}",
            "unimp",
            ".size _start, . - _start",
            relocate = sym $relocate,
            enter = sym $enter,
        );
    };
}
