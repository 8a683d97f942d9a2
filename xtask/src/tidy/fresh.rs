//! The generated pages are the ones that declarations and tests give.

use super::Finding;
use crate::reference;
use crate::tree::Tree;

/// Compares them with what `cargo xtask docs` would write.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = reference::pages(tree);
    let mut findings = Vec::new();
    for (path, text) in &pages {
        match tree.text(path) {
            Some(there) if there == text => {}
            Some(_) => findings.push(Finding::new(path, format_args!("differs from what it is made of; {REMEDY}"))),
            None => findings.push(Finding::new(path, format_args!("is missing; {REMEDY}"))),
        }
    }
    for (path, _) in tree.below(reference::DIR) {
        let path = format!("{}/{path}", reference::DIR);
        if !pages.contains_key(&path) {
            findings.push(Finding::new(path, format_args!("belongs to no component; {REMEDY}")));
        }
    }
    findings
}

const REMEDY: &str = "run cargo xtask docs";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_a_missing_and_a_needless_page_are_found() {
        let pages = reference::pages(&Tree::default());
        let mut files: Vec<(&str, &str)> = pages.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        assert!(check(&Tree::of(&files)).is_empty());

        let changed = files[0].1.replace("sources", "springs");
        let (stale, missing) = (files[0].0, files.remove(1).0);
        files[0].1 = &changed;
        files.push(("docs/components/sources/gone.md", ""));
        let found = check(&Tree::of(&files));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], format!("{stale}: differs from what it is made of; run cargo xtask docs"));
        assert_eq!(found[1], format!("{missing}: is missing; run cargo xtask docs"));
        assert_eq!(found[2], "docs/components/sources/gone.md: belongs to no component; run cargo xtask docs");
    }
}
