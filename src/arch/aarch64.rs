//! AArch64. The kernel takes the number in x8 and arguments in x0 to x4.

/// `R_AARCH64_RELATIVE`.
pub const RELATIVE: u32 = 1027;

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
    // SAFETY: udf raises SIGILL and touches nothing.
    unsafe { core::arch::asm!("udf #0", options(noreturn, nomem, nostack)) }
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
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x19, sp",
            "mov x0, sp",
            "bl {relocate}",
            "mov x0, x19",
            "bl {enter}",
            "udf #0",
            ".size _start, . - _start",
            relocate = sym $relocate,
            enter = sym $enter,
        );
    };
}
