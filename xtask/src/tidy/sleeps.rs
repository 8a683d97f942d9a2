//! No test sleeps: it waits for what it wants to see, or moves a clock of its own.
//!
//! A wait for something outside the process (a file, a child) has to look again and again. Such a line says so:
//! `// sleeps: why nothing can be awaited`, at its end or on the line above.

use super::Finding;
use super::budget::is_test;
use crate::tree::Tree;

/// Looks through the code of all tests.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.ending(".rs").flat_map(|(path, text)| unexplained(path, text)).collect()
}

fn unexplained(path: &str, text: &str) -> Vec<Finding> {
    let mut in_tests = is_test(path) || path.starts_with("testkit/");
    let mut findings = Vec::new();
    let mut above = "";
    for (number, line) in (1..).zip(text.lines()) {
        in_tests |= line == "mod tests {";
        if in_tests && sleeps(line) && !explains(line) && !explains(above) {
            let problem = "a test must not sleep: await the condition, or pause the clock; if neither can be done, say why \
                           in `// sleeps: …` beside it";
            findings.push(Finding::new(format_args!("{path}:{number}"), problem));
        }
        above = line;
    }
    findings
}

/// Whether the line calls a function that lets time pass. Methods are those of a clock that the test moves.
fn sleeps(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    CALLS.iter().any(|call| {
        code.match_indices(call).any(|(at, _)| {
            let before = &code[..at];
            !before.ends_with(|c: char| c == '.' || c == '_' || c.is_alphanumeric()) && !before.ends_with("fn ")
        })
    })
}

fn explains(line: &str) -> bool {
    line.split_once("// sleeps: ").is_some_and(|(_, reason)| reason.trim().len() >= SHORTEST_REASON)
}

const CALLS: &[&str] = &["sleep(", "sleep_until(", "sleep_ms(", "park_timeout("];
/// A word is no reason.
const SHORTEST_REASON: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_sleep_in_a_test_is_found_wherever_tests_are() {
        let nap = concat!("std::thread::", "sleep", "(PAUSE);");
        assert_eq!(lines("journal/tests/model.rs", nap), ["journal/tests/model.rs:1"]);
        assert_eq!(lines("testkit/src/lib.rs", nap), ["testkit/src/lib.rs:1"]);
        let inline = format!("{nap}\n#[cfg(test)]\nmod tests {{\n    {nap}\n}}");
        assert_eq!(lines("core/src/a.rs", &inline), ["core/src/a.rs:4"]);
    }

    #[test]
    fn a_reason_beside_it_allows_it_and_a_word_does_not() {
        let nap = concat!("sleep", "(PAUSE).await;");
        assert!(lines("tests/src/a.rs", &format!("// sleeps: a child process tells nobody\n{nap}")).is_empty());
        assert!(lines("tests/src/a.rs", &format!("{nap} // sleeps: a child process tells nobody")).is_empty());
        assert_eq!(lines("tests/src/a.rs", &format!("// sleeps: ok\n{nap}")).len(), 1);
    }

    #[test]
    fn a_clock_that_the_test_moves_is_no_sleep() {
        assert!(lines("io/tests/a.rs", "clock.sleep_until(DUE).await;").is_empty());
        assert!(lines("io/tests/a.rs", "fn sleep_until(&self) {}").is_empty());
    }
}
