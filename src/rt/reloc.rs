//! The program's own relative relocations (REL, RELA and RELR), then RELRO.
//!
//! Until `relocate` returns, no table of pointers may be read: that rules out panics with a
//! message, `match` on strings and anything else the compiler may turn into such a table; in a
//! build for debugging also `ptr::read` and the like, whose checks are called through one. So this
//! file uses raw pointers and wrapping arithmetic only, and stops by an illegal instruction.

use linux_raw_sys::{auxvec, elf, general};
use phasebox::arch;

/// ELF gABI: packed relative relocations, their size. (`-z pack-relative-relocs`.)
const DT_RELR: usize = 36;
const DT_RELRSZ: usize = 35;

/// Applies the relocations of a static position-independent executable to itself.
///
/// # Safety
/// `stack` is the initial stack; called once, before anything else.
pub unsafe extern "C" fn relocate(stack: *const usize) {
    // SAFETY: the kernel puts argc, argv, NULL, envp, NULL, auxv there, in this order.
    unsafe {
        let mut word = stack.wrapping_add((*stack).wrapping_add(2));
        while *word != 0 {
            word = word.wrapping_add(1);
        }
        word = word.wrapping_add(1);

        let (mut headers, mut count, mut page) = (0usize, 0usize, 4096usize);
        loop {
            let (key, value) = (*word, *word.wrapping_add(1));
            word = word.wrapping_add(2);
            if key == auxvec::AT_PHDR as usize {
                headers = value;
            } else if key == auxvec::AT_PHNUM as usize {
                count = value;
            } else if key == auxvec::AT_PAGESZ as usize {
                page = value;
            } else if key == 0 {
                break;
            }
        }

        // The first loaded segment begins with the ELF header, which the program headers follow.
        let base = headers.wrapping_sub(size_of::<elf::Elf_Ehdr>());
        let (mut relro, mut relro_size) = (0, 0);
        let mut header = headers as *const elf::Elf_Phdr;
        while count > 0 {
            if (*header).p_type == elf::PT_DYNAMIC {
                apply(
                    base,
                    base.wrapping_add((*header).p_vaddr) as *const elf::Elf_Dyn,
                );
            } else if (*header).p_type == elf::PT_GNU_RELRO {
                relro = base.wrapping_add((*header).p_vaddr);
                relro_size = (*header).p_memsz;
            }
            header = header.wrapping_add(1);
            count = count.wrapping_sub(1);
        }

        if relro_size != 0 {
            let first = relro & page.wrapping_neg();
            let last = relro.wrapping_add(relro_size) & page.wrapping_neg();
            let arguments = [
                first,
                last.wrapping_sub(first),
                general::PROT_READ as usize,
                0,
                0,
            ];
            if arch::syscall5(general::__NR_mprotect as usize, arguments) != 0 {
                arch::trap();
            }
        }
    }
}

/// Reads the dynamic section and adds `base` to every word that its tables name.
///
/// # Safety
/// `dynamic` is the program's own dynamic section, loaded at `base`.
unsafe fn apply(base: usize, mut dynamic: *const elf::Elf_Dyn) {
    let (mut rela, mut rela_size) = (0usize, 0usize);
    let (mut rel, mut rel_size) = (0usize, 0usize);
    let (mut relr, mut relr_size) = (0usize, 0usize);
    // SAFETY: the linker ends the section with DT_NULL and the tables lie in loaded segments.
    unsafe {
        loop {
            let (tag, value) = ((*dynamic).d_tag, (*dynamic).d_un.d_ptr);
            if tag == elf::DT_NULL {
                break;
            } else if tag == elf::DT_RELA {
                rela = value;
            } else if tag == elf::DT_RELASZ {
                rela_size = value;
            } else if tag == elf::DT_REL {
                rel = value;
            } else if tag == elf::DT_RELSZ {
                rel_size = value;
            } else if tag == DT_RELR {
                relr = value;
            } else if tag == DT_RELRSZ {
                relr_size = value;
            }
            dynamic = dynamic.wrapping_add(1);
        }

        // RELA: offset, info, addend. REL: offset, info; the addend lies in place.
        let mut entry = base.wrapping_add(rela) as *const usize;
        while rela_size != 0 {
            only_relative(*entry.wrapping_add(1));
            let place = base.wrapping_add(*entry) as *mut usize;
            *place = base.wrapping_add(*entry.wrapping_add(2));
            entry = entry.wrapping_add(3);
            rela_size = rela_size.wrapping_sub(3 * size_of::<usize>());
        }
        // Only processors of 32 bits use REL.
        let mut entry = base.wrapping_add(rel) as *const usize;
        while cfg!(target_pointer_width = "32") && rel_size != 0 {
            only_relative(*entry.wrapping_add(1));
            add_base(base, base.wrapping_add(*entry));
            entry = entry.wrapping_add(2);
            rel_size = rel_size.wrapping_sub(2 * size_of::<usize>());
        }

        // RELR: an even word is an address; an odd one a bitmap of the words that follow it.
        let mut entry = base.wrapping_add(relr) as *const usize;
        let mut next = 0usize;
        while relr_size != 0 {
            let mut bits = *entry;
            if bits & 1 == 0 {
                add_base(base, base.wrapping_add(bits));
                next = base.wrapping_add(bits).wrapping_add(size_of::<usize>());
            } else {
                let mut place = next;
                bits >>= 1;
                while bits != 0 {
                    if bits & 1 != 0 {
                        add_base(base, place);
                    }
                    place = place.wrapping_add(size_of::<usize>());
                    bits >>= 1;
                }
                next = next.wrapping_add((usize::BITS as usize - 1) * size_of::<usize>());
            }
            entry = entry.wrapping_add(1);
            relr_size = relr_size.wrapping_sub(size_of::<usize>());
        }
    }
}

/// A static executable has relative relocations only; anything else means a broken link.
fn only_relative(info: usize) {
    let kind = if size_of::<usize>() == 8 {
        info as u32
    } else {
        info as u32 & 0xff
    };
    if kind != arch::RELATIVE {
        arch::trap();
    }
}

/// Adds `base` to the word at `place`.
///
/// # Safety
/// `place` is a word of the program's own writable data.
unsafe fn add_base(base: usize, place: usize) {
    let place = place as *mut usize;
    // SAFETY: the caller's promise.
    unsafe { *place = (*place).wrapping_add(base) }
}
