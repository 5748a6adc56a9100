//! Arm, 32 bits, EABI, in either instruction set. The kernel takes the number in r7 and arguments
//! in r0 to r4.

/// `R_ARM_RELATIVE`.
pub const RELATIVE: u32 = 23;

/// clone(2) takes its flags first.
pub const CLONE_FLAGS: usize = 0;

/// Makes system call `number`, always with five arguments, so that no register is left stale.
///
/// # Safety
/// The arguments must be what that system call expects; pointers must be valid for what it does.
#[inline]
pub unsafe fn syscall5(number: usize, arguments: [usize; 5]) -> usize {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: passed on to the caller of this function. r7 may be the frame pointer (Thumb), which
    // the compiler lets no operand have: so it is put back.
    unsafe {
        core::arch::asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {saved}",
            number = in(reg) number,
            saved = out(reg) _,
            inlateout("r0") a => result,
            in("r1") b,
            in("r2") c,
            in("r3") d,
            in("r4") e,
            options(nostack),
        );
    }
    result
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
            // The kernel starts it in the set that the address says: here always Arm.
            ".arm",
            ".globl _start",
            ".type _start,%function",
            "_start:",
            "mov fp, #0",
            "mov lr, #0",
            "mov r4, sp",
            "mov r0, sp",
            "bic sp, sp, #7",
            // The linker makes it blx where the function is in Thumb.
            "bl {relocate}",
            "mov r0, r4",
            "bl {enter}",
            "udf #0",
            ".size _start, . - _start",
            relocate = sym $relocate,
            enter = sym $enter,
        );
    };
}
