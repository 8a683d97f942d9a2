//! How long a file may be: 200 lines are aimed at, above 500 it is told, above 800 it fails. Tests do not count.

use super::Finding;
use crate::tree::Tree;

const WARN_LINES: usize = 500;
const FAIL_LINES: usize = 800;

/// Measures every Rust file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.ending(".rs").filter(|(path, _)| !is_test(path)).filter_map(|(path, text)| judge(path, text)).collect()
}

fn judge(path: &str, text: &str) -> Option<Finding> {
    let lines = lines_without_tests(text);
    if lines > FAIL_LINES {
        Some(Finding::new(path, format_args!("{lines} lines, more than {FAIL_LINES}: split it")))
    } else if lines > WARN_LINES {
        Some(Finding::warning(path, format_args!("{lines} lines, more than {WARN_LINES}: look for the seam")))
    } else {
        None
    }
}

/// Whether the whole file is tests.
pub(super) fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Lines before the tests at the bottom.
fn lines_without_tests(text: &str) -> usize {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text).lines().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<bool> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.only_warns).collect()
    }

    #[test]
    fn a_long_file_is_told_and_a_longer_one_fails() {
        assert!(found("core/src/a.rs", &"x\n".repeat(500)).is_empty());
        assert_eq!(found("core/src/a.rs", &"x\n".repeat(501)), [true]);
        assert_eq!(found("core/src/a.rs", &"x\n".repeat(801)), [false]);
    }

    #[test]
    fn tests_do_not_count() {
        let text = format!("code\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(900));
        assert!(found("core/src/a.rs", &text).is_empty());
        for path in ["core/src/a/tests.rs", "core/src/a/tests/model.rs", "tests/tests/crash.rs", "io/tests/a.rs"] {
            assert!(found(path, &"x\n".repeat(900)).is_empty(), "{path}");
        }
    }
}
