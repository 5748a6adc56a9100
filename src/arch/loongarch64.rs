//! LoongArch, 64 bits. The kernel takes the number in a7 and arguments in a0 to a4; it destroys t0
//! to t8.

/// `R_LARCH_RELATIVE`.
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
    let result;
    // SAFETY: passed on to the caller of this function.
    unsafe {
        core::arch::asm!(
            "syscall 0",
            in("$a7") number,
            inlateout("$a0") a => result,
            in("$a1") b,
            in("$a2") c,
            in("$a3") d,
            in("$a4") e,
            lateout("$t0") _,
            lateout("$t1") _,
            lateout("$t2") _,
            lateout("$t3") _,
            lateout("$t4") _,
            lateout("$t5") _,
            lateout("$t6") _,
            lateout("$t7") _,
            lateout("$t8") _,
            options(nostack),
        );
    }
    result
}

/// Ends the process by an illegal instruction.
#[inline]
pub fn trap() -> ! {
    // SAFETY: this use of amswap raises SIGILL and touches nothing.
    unsafe {
        core::arch::asm!(
            "amswap.w $zero, $ra, $zero",
            options(noreturn, nomem, nostack)
        )
    }
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
            "move $fp, $zero",
            "move $ra, $zero",
            "move $s0, $sp",
            "move $a0, $sp",
            "bstrins.d $sp, $zero, 3, 0",
            "bl {relocate}",
            "move $a0, $s0",
            "bl {enter}",
            "amswap.w $zero, $ra, $zero",
            ".size _start, . - _start",
            relocate = sym $relocate,
            enter = sym $enter,
        );
    };
}
