//! PowerPC, 64 bits, little-endian (ELFv2). The kernel takes the number in r0 and arguments in r3
//! to r7; it says by cr0 whether the result is an error, and then gives it without its sign.

/// `R_PPC64_RELATIVE`.
pub const RELATIVE: u32 = 22;

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
            "sc",
            "bns 2f",
            "neg 3, 3",
            "2:",
            inlateout("r0") number => _,
            inlateout("r3") a => result,
            inlateout("r4") b => _,
            inlateout("r5") c => _,
            inlateout("r6") d => _,
            inlateout("r7") e => _,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
            lateout("r12") _,
            lateout("cr0") _,
            lateout("ctr") _,
            lateout("xer") _,
            options(nostack),
        );
    }
    result
}

/// Ends the process by an illegal instruction.
#[inline]
pub fn trap() -> ! {
    // SAFETY: a word of zeros raises SIGILL and touches nothing.
    unsafe { core::arch::asm!(".long 0", options(noreturn, nomem, nostack)) }
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
            // r12 has this address, r2 must have that of the table of addresses.
            "addis 2, 12, .TOC. - _start@ha",
            "addi 2, 2, .TOC. - _start@l",
            "mr 30, 1",
            "mr 3, 1",
            "clrrdi 1, 1, 4",
            "li 0, 0",
            "stdu 0, -32(1)",
            "mtlr 0",
            "bl {relocate}",
            "nop",
            "mr 3, 30",
            "bl {enter}",
            "nop",
            ".long 0",
            ".size _start, . - _start",
            relocate = sym $relocate,
            enter = sym $enter,
        );
    };
}
