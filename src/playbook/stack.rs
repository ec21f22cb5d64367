//! A stack for the deepest nesting that the compiler accepts.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// The size of the stack. The compiler and the checks follow a script to its greatest
/// depth, which needs more than a thread has by default.
const STACK: usize = 64 << 20;

/// Does work on a large stack. Without another thread, does it on the stack of this
/// one.
pub(super) fn on_large_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    let done = scope(|scope| {
        let thread = Builder::new().stack_size(STACK);
        let thread = thread.spawn_scoped(scope, &work).ok()?;
        Some(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    done.unwrap_or_else(work)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::playbook::{Buffers, Playbook};

    /// Tests have small stacks.
    #[test]
    fn deep_nesting_is_a_mistake_and_overflows_no_stack() {
        for (open, value, close) in [
            ("print(", "1", ")"),
            ("[", "1", "]"),
            ("#{ a: ", "1", " }"),
            ("{ ", "print(1);", " }"),
            ("!", "true", ""),
        ] {
            for depth in [40, 1000] {
                let script = format!("{}{value}{};", open.repeat(depth), close.repeat(depth));
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deep.rhai");
                let mut buffers = Buffers::default();
                buffers.insert(&path, &script);
                let checked = Playbook::check_with(&path, &buffers);
                let is_too_deep =
                    |finding: &crate::playbook::Finding| finding.rule.code == "syntax";
                let found = checked.findings.iter().any(is_too_deep);
                assert_eq!(
                    found,
                    depth == 1000,
                    "{open} {depth}: {:?}",
                    checked.findings
                );
            }
        }
    }
}
