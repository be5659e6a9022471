//! Panics of libraries, as ordinary errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many [`caught`] this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs what a library may panic in. Nothing is printed of a panic on this thread meanwhile; others are told as ever.
///
/// # Errors
/// What the panic said.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = take_hook();
        set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                former(info);
            }
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(run));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|panic| told(&*panic))
}

/// What a panic said.
#[must_use]
pub fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("an unknown fault").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words_and_the_next_is_caught_too() {
        assert_eq!(caught(|| 7), Ok(7));
        let number = std::hint::black_box(3);
        for _ in 0..2 {
            assert_eq!(caught(|| assert!(number < 3, "{number} is too much")), Err("3 is too much".into()));
            assert_eq!(DEPTH.get(), 0);
        }
        let inner = caught(|| caught(|| panic!("within")));
        assert_eq!(inner, Ok(Err::<(), String>("within".into())));
    }
}
