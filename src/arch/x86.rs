//! x86, 32 bits. The kernel takes the number in eax and arguments in ebx, ecx, edx, esi, edi.

/// `R_386_RELATIVE`.
pub const RELATIVE: u32 = 8;

/// clone(2) takes its flags first.
pub const CLONE_FLAGS: usize = 0;

/// Makes system call `number`, always with five arguments, so that no register is left stale.
///
/// # Safety
/// The arguments must be what that system call expects; pointers must be valid for what it does.
#[inline]
pub unsafe fn syscall5(number: usize, arguments: [usize; 5]) -> usize {
    let result;
    // SAFETY: passed on to the caller of this function. ebx and esi are the compiler's in some
    // builds, and there are no registers left for so many operands: so all come from memory.
    unsafe {
        core::arch::asm!(
            "push ebx",
            "push esi",
            "push edi",
            "mov ebx, [edi]",
            "mov ecx, [edi + 4]",
            "mov edx, [edi + 8]",
            "mov esi, [edi + 12]",
            "mov edi, [edi + 16]",
            "int 0x80",
            "pop edi",
            "pop esi",
            "pop ebx",
            inlateout("eax") number => result,
            in("edi") arguments.as_ptr(),
            lateout("ecx") _,
            lateout("edx") _,
        );
    }
    result
}

/// Ends the process by an illegal instruction.
#[inline]
pub fn trap() -> ! {
    // SAFETY: ud2 raises SIGILL and touches nothing.
    unsafe { core::arch::asm!("ud2", options(noreturn, nomem, nostack)) }
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
            "xor ebp, ebp",
            "mov esi, esp",
            "and esp, -16",
            // The argument, below an aligned stack pointer.
            "sub esp, 12",
            "push esi",
            "call {relocate}",
            "mov [esp], esi",
            "call {enter}",
            "ud2",
            ".size _start, . - _start",
            relocate = sym $relocate,
            enter = sym $enter,
        );
    };
}
