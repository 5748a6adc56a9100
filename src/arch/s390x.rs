//! s390x, big-endian. The kernel takes the number in r1 and arguments in r2 to r6.

/// `R_390_RELATIVE`.
pub const RELATIVE: u32 = 12;

/// clone(2) takes the stack first, then its flags.
pub const CLONE_FLAGS: usize = 1;

/// Makes system call `number`, always with five arguments, so that no register is left stale.
///
/// # Safety
/// The arguments must be what that system call expects; pointers must be valid for what it does.
#[inline]
pub unsafe fn syscall5(number: usize, arguments: [usize; 5]) -> usize {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: passed on to the caller of this function.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("r1") number,
            inlateout("r2") a => result,
            in("r3") b,
            in("r4") c,
            in("r5") d,
            in("r6") e,
            options(nostack),
        );
    }
    result
}

/// Ends the process by an illegal instruction.
#[inline]
pub fn trap() -> ! {
    // SAFETY: a halfword of zeros raises SIGILL and touches nothing.
    unsafe { core::arch::asm!(".short 0", options(noreturn, nomem, nostack)) }
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
            "lgr %r8, %r15",
            "lgr %r2, %r15",
            // What every function may expect its caller to have left, with no frame above.
            "aghi %r15, -160",
            "xc 0(8, %r15), 0(%r15)",
            "brasl %r14, {relocate}",
            "lgr %r2, %r8",
            "brasl %r14, {enter}",
            ".short 0",
            ".size _start, . - _start",
            relocate = sym $relocate,
            enter = sym $enter,
        );
    };
}
