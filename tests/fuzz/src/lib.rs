//! Runs a target of `overmind_export::fuzzing`, and bounds its memory.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::RefCell,
    panic::{self, catch_unwind},
    process,
};

use overmind_export::fuzzing::TARGETS;

#[doc(hidden)]
pub use libfuzzer_sys;

/// The largest single allocation: 64 MiB. A file that only declares more must not get it.
const LARGEST: usize = 64 << 20;

/// Refuses large allocations, as a machine without that much memory does.
struct Limited;

// SAFETY: all calls go to the allocator of the system. A null pointer is its answer for a lack of memory, too.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return std::ptr::null_mut();
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return std::ptr::null_mut();
        }
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > LARGEST {
            return std::ptr::null_mut();
        }
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Records panics instead of ending at the first one: the readers catch the panics of foreign decoders.
pub fn init() {
    panic::set_hook(Box::new(|info| LAST_PANIC.set(info.to_string())));
}

/// Runs the target with this name. A panic that leaves it ends the process.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.unwrap_or_else(|| panic!("there is no target {name}"));
    if catch_unwind(|| target(bytes)).is_err() {
        eprintln!("{}", LAST_PANIC.take());
        process::abort();
    }
}

/// Makes a libFuzzer program of a target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::init(),
            |bytes: &[u8]| $crate::run($name, bytes)
        );
    };
}
