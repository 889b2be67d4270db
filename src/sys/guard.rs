//! An allocator that aborts in a child between clone and exec. Test builds only.
//!
//! A child of clone3 that allocates hangs now and then, when another thread of the parent
//! held the allocator's lock at that moment. "Now and then" is no test; this is: after
//! [`arm`] every allocation of the process ends it at once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

static ARMED: AtomicBool = AtomicBool::new(false);

/// From here on this process may not allocate. Called by the child as its first act.
pub fn arm() {
    ARMED.store(true, Ordering::SeqCst);
}

/// The system allocator with the guard in front.
#[derive(Debug)]
pub struct Guarded;

fn check() {
    if ARMED.load(Ordering::SeqCst) {
        let text = b"stockade: allocation between clone and exec\n";
        // SAFETY: writes a static slice to stderr; abort raises SIGABRT and does not return.
        unsafe {
            libc::write(2, text.as_ptr().cast::<libc::c_void>(), text.len());
            libc::abort();
        }
    }
}

// SAFETY: every method checks the flag and hands its arguments unchanged to the system
// allocator, which upholds the contract.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        check();
        // SAFETY: the caller's pointer and layout, passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        check();
        // SAFETY: the caller's arguments, passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
