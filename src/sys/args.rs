//! What execve(2) left on the stack: arguments, environment, random bytes.

use core::ffi::{CStr, c_char};

use linux_raw_sys::auxvec;

/// A NULL-ended vector of strings that lives as long as the process.
#[derive(Clone, Copy)]
pub struct Strings(*const *const c_char);

impl Strings {
    /// The first string.
    #[must_use]
    #[inline(never)]
    pub fn first(self) -> Option<&'static CStr> {
        // SAFETY: a string's pointer, or the NULL after the last one.
        let string = unsafe { *self.0 };
        if string.is_null() {
            return None;
        }
        // SAFETY: the kernel ends each string with a NUL and nothing in this program changes it.
        Some(unsafe { CStr::from_ptr(string) })
    }

    /// All strings but the first; empty where there is none.
    #[must_use]
    pub fn rest(self) -> Strings {
        // SAFETY: a string's pointer, or the NULL after the last one.
        let is_empty = unsafe { *self.0 }.is_null();
        // SAFETY: at most one past the last string, where the NULL is.
        Strings(unsafe { self.0.add(usize::from(!is_empty)) })
    }

    /// Behind the last string: none.
    #[must_use]
    pub fn end(self) -> Strings {
        let mut strings = self;
        while strings.first().is_some() {
            strings = strings.rest();
        }
        strings
    }

    /// The string at `index`.
    #[must_use]
    #[inline(never)]
    pub fn get(self, index: usize) -> Option<&'static CStr> {
        let mut strings = self;
        for _ in 0..index {
            strings = strings.rest();
        }
        strings.first()
    }

    /// Each string in turn.
    pub fn iter(self) -> impl Iterator<Item = &'static CStr> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let string = rest.first();
            rest = rest.rest();
            string
        })
    }

    /// For tests: a vector that is never freed.
    #[cfg(test)]
    #[must_use]
    pub fn leak(words: &[&str]) -> Strings {
        let strings = words.iter().map(|word| {
            let word = std::ffi::CString::new(*word).unwrap();
            word.into_raw().cast_const()
        });
        let pointers: std::vec::Vec<_> = strings.chain([core::ptr::null()]).collect();
        Strings(pointers.leak().as_ptr())
    }

    /// For execve.
    pub(super) fn as_ptr(self) -> *const *const c_char {
        self.0
    }
}

/// `string` without its first `count` bytes; empty where it has no more.
#[must_use]
pub fn skip(string: &CStr, count: usize) -> &CStr {
    // SAFETY: count is at most the length, so the rest still ends with the NUL.
    unsafe { CStr::from_ptr(string.as_ptr().add(count.min(string.count_bytes()))) }
}

/// The string at the beginning of `bytes`, where it ends within them.
#[must_use]
pub fn until_nul(bytes: &[u8]) -> Option<&CStr> {
    // Short strings: a plain loop does, in a tenth of the size of the library's.
    let length = bytes.iter().position(|byte| *byte == 0)?;
    // SAFETY: the first NUL is the last byte of the slice.
    Some(unsafe { CStr::from_bytes_with_nul_unchecked(bytes.get_unchecked(..=length)) })
}

/// The start of the process.
#[derive(Clone, Copy)]
pub struct Start {
    /// The program's name and its arguments.
    pub argv: Strings,
    /// The environment, only ever passed on (but for PATH, after the drop).
    pub envp: Strings,
    /// The path by which the program was executed (AT_EXECFN); only ever used for a message.
    pub program: Option<&'static CStr>,
    /// Sixteen random bytes of the kernel's (AT_RANDOM, getauxval(3)), new at each execve.
    pub random: [u8; 16],
}

impl Start {
    /// Reads the initial stack: argc, argv, NULL, envp, NULL, auxiliary vector.
    ///
    /// Finds the strings by their NULL, not by argc: before Linux 5.18 an empty argv is passed on
    /// (CVE-2021-4034), and then argv and envp still are where their NULLs say.
    ///
    /// # Safety
    /// `stack` is the initial stack pointer of this process.
    #[must_use]
    pub unsafe fn from_stack(stack: *const usize) -> Start {
        /// What follows a vector's NULL.
        unsafe fn end(vector: *const usize) -> *const usize {
            let mut word = vector;
            // SAFETY: stops at the NULL that ends the vector.
            while unsafe { word.read() } != 0 {
                // SAFETY: there is more of the vector.
                word = unsafe { word.add(1) };
            }
            // SAFETY: something follows each vector on the stack.
            unsafe { word.add(1) }
        }
        // SAFETY: argv follows argc.
        let argv = unsafe { stack.add(1) };
        // SAFETY: envp follows argv's NULL.
        let envp = unsafe { end(argv) };
        // SAFETY: the auxiliary vector follows envp's NULL.
        let mut auxiliary = unsafe { end(envp) };

        let (mut random, mut program) = ([0; 16], None);
        loop {
            // SAFETY: pairs up to AT_NULL.
            let [key, value] = unsafe { auxiliary.cast::<[usize; 2]>().read() };
            if key == auxvec::AT_NULL as usize {
                break;
            }
            if key == auxvec::AT_EXECFN as usize {
                // SAFETY: the kernel gives the address of a NUL-ended string, which stays.
                program = Some(unsafe { CStr::from_ptr(value as *const c_char) });
            }
            if key == auxvec::AT_RANDOM as usize {
                // SAFETY: the kernel gives the address of sixteen bytes.
                random = unsafe { (value as *const [u8; 16]).read() };
            }
            // SAFETY: not the last pair.
            auxiliary = unsafe { auxiliary.add(2) };
        }
        Start {
            argv: Strings(argv.cast()),
            envp: Strings(envp.cast()),
            program,
            random,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn stack(argv: &[&CStr], envp: &[&CStr], random: &[u8; 16]) -> Vec<usize> {
        let mut words = Vec::from([argv.len()]);
        words.extend(argv.iter().map(|string| string.as_ptr() as usize));
        words.push(0);
        words.extend(envp.iter().map(|string| string.as_ptr() as usize));
        words.extend([0, 6, 4096, 25, random.as_ptr() as usize, 0, 0]);
        words
    }

    #[test]
    fn the_stack_is_read_with_and_without_arguments() {
        let random = *b"0123456789abcdef";
        for argv in [&[c"box", c"-n"][..], &[]] {
            let words = stack(argv, &[c"A=1"], &random);
            // SAFETY: laid out as the kernel does.
            let start = unsafe { Start::from_stack(words.as_ptr()) };
            assert_eq!(start.argv.iter().collect::<Vec<_>>(), argv);
            assert_eq!(start.envp.get(0), Some(c"A=1"));
            assert_eq!(start.envp.iter().count(), 1);
            assert_eq!(start.random, random);
            assert_eq!(start.argv.get(5), None);
            assert_eq!(start.envp.rest().rest().first(), None);
        }
    }
}
