//! The memory functions that the compiler calls and no libc provides here.
//!
//! Plain loops: nothing this program moves is larger than a few kilobytes. `#![no_builtins]` on
//! the crate keeps the compiler from turning a loop back into a call of the function it is in.
#![allow(unsafe_code)]

/// memcpy(3).
///
/// # Safety
/// As memcpy(3): both ranges valid, not overlapping.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    let mut at = 0;
    while at < length {
        // SAFETY: at < length, and the caller gives ranges of that length.
        unsafe { to.add(at).write(from.add(at).read()) };
        at = at.wrapping_add(1);
    }
    to
}

/// memmove(3).
///
/// # Safety
/// As memmove(3): both ranges valid.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= length {
        // SAFETY: copying upwards reads each byte before it can be overwritten.
        return unsafe { memcpy(to, from, length) };
    }
    let mut at = length;
    while at > 0 {
        at = at.wrapping_sub(1);
        // SAFETY: at < length.
        unsafe { to.add(at).write(from.add(at).read()) };
    }
    to
}

/// memset(3).
///
/// # Safety
/// As memset(3): the range is valid.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    let mut at = 0;
    while at < length {
        // SAFETY: at < length.
        unsafe { to.add(at).write(byte as u8) };
        at = at.wrapping_add(1);
    }
    to
}

/// memcmp(3).
///
/// # Safety
/// As memcmp(3): both ranges valid.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    let mut at = 0;
    while at < length {
        // SAFETY: at < length.
        let (a, b) = unsafe { (left.add(at).read(), right.add(at).read()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        at = at.wrapping_add(1);
    }
    0
}

/// bcmp(3): memcmp, but only zero or not.
///
/// # Safety
/// As bcmp(3): both ranges valid.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(left, right, length) }
}

/// strlen(3).
///
/// # Safety
/// As strlen(3): `string` ends with a NUL.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut at = 0;
    // SAFETY: no byte after the NUL is read.
    while unsafe { string.add(at).read() } != 0 {
        at = at.wrapping_add(1);
    }
    at
}
