//! A component is one file or folder, and one entry in its crate's list: what the one has, the other has.
//!
//! A module is a component when it declares one: `pub static SPEC` in the six kinds that a configuration names, an
//! `impl Output for` among the outputs. Every other module helps.

use super::Finding;
use crate::tree::Tree;

/// How a crate lists its components.
struct Crate {
    /// Where they lie.
    dir: &'static str,
    /// The file in it that lists them.
    list: &'static str,
    /// What makes a module a component.
    declares: &'static str,
    /// How the entry of module `$` begins in `lib.rs`.
    entry: &'static str,
}

const SPEC: &str = "pub static SPEC:";

const CRATES: &[Crate] = &[
    Crate { dir: "sources/src", list: "lib.rs", declares: SPEC, entry: "&$::SPEC" },
    Crate { dir: "interceptors/src", list: "lib.rs", declares: SPEC, entry: "&$::SPEC" },
    Crate { dir: "selectors/src", list: "lib.rs", declares: SPEC, entry: "&$::SPEC" },
    Crate { dir: "channels/src", list: "lib.rs", declares: SPEC, entry: "&$::SPEC" },
    Crate { dir: "sinks/src", list: "lib.rs", declares: SPEC, entry: "&$::SPEC" },
    Crate { dir: "sinks/src/group", list: "mod.rs", declares: SPEC, entry: "&$::SPEC" },
    Crate { dir: "outputs/src", list: "lib.rs", declares: "\nimpl Output for ", entry: "pub use $::" },
];

/// Compares folders with lists, and files with the names that they declare.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    CRATES.iter().flat_map(|one| one.check(tree)).collect()
}

impl Crate {
    fn check(&self, tree: &Tree) -> Vec<Finding> {
        let lib = format!("{}/{}", self.dir, self.list);
        let Some(list) = tree.text(&lib) else { return vec![Finding::new(lib, "there is no such file")] };
        // Without comments, so that an entry that was taken out is out.
        let list: String = list.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        // A component may be called as a word of Rust's: `r#static`.
        let list = list.replace("r#", "");
        let (before, after) = self.entry.split_once('$').unwrap_or((self.entry, ""));
        let mut findings = Vec::new();
        let modules = tree.modules(self.dir);
        let components: Vec<_> = modules.filter(|(_, _, text)| text.contains(self.declares)).collect();
        for (module, path, text) in &components {
            if !list.contains(&format!("{before}{module}{after}")) {
                let entry = self.entry.replace('$', module);
                findings.push(Finding::new(path, format_args!("a component that {lib} does not list: add {entry}")));
            }
            if self.declares == SPEC && declared_name(text) != Some(module) {
                let problem = format!("declares {:?}: a component is called as its file", declared_name(text));
                findings.push(Finding::new(path, problem));
            }
        }
        for entry in list.split(before).skip(1) {
            let Some((module, _)) = entry.split_once(after) else { continue };
            let is_module = module.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if is_module && !components.iter().any(|(known, ..)| *known == module) {
                let problem = format!("lists {module}, but no file or folder of that name declares a component");
                findings.push(Finding::new(&lib, problem));
            }
        }
        findings
    }
}

fn declared_name(text: &str) -> Option<&str> {
    let (_, after) = text.split_once(SPEC)?;
    let (_, value) = after.split_once("name: \"")?;
    value.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQ: &str = "pub static SPEC: SourceSpec = SourceSpec { name: \"seq\", aliases: &[] };";
    const OTHERS: &[(&str, &str)] = &[
        ("interceptors/src/lib.rs", ""),
        ("selectors/src/lib.rs", ""),
        ("channels/src/lib.rs", ""),
        ("sinks/src/lib.rs", ""),
        ("sinks/src/group/mod.rs", ""),
        ("outputs/src/lib.rs", "pub use sqlite::{Sqlite, Top};"),
        ("outputs/src/sqlite/mod.rs", "struct Sqlite;\nimpl Output for Sqlite {}"),
    ];

    fn places(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = OTHERS.to_vec();
        all.extend_from_slice(files);
        check(&Tree::of(&all)).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_component_and_its_entry_belong_together_and_helpers_need_none() {
        let list = ("sources/src/lib.rs", "pub static SOURCES: &[&SourceSpec] = &[&seq::SPEC];");
        assert!(places(&[list, ("sources/src/seq.rs", SEQ), ("sources/src/window.rs", "struct Window;")]).is_empty());
        assert_eq!(places(&[list]), ["sources/src/lib.rs"]);
    }

    #[test]
    fn a_component_that_is_not_listed_or_only_in_a_comment_is_found() {
        let file = ("sources/src/seq/mod.rs", SEQ);
        assert_eq!(places(&[("sources/src/lib.rs", "&[]"), file]), ["sources/src/seq/mod.rs"]);
        assert_eq!(places(&[("sources/src/lib.rs", "&[\n    // &seq::SPEC,\n]"), file]), ["sources/src/seq/mod.rs"]);
    }

    #[test]
    fn a_file_is_called_as_its_component() {
        let list = ("sources/src/lib.rs", "&[&count::SPEC]");
        assert_eq!(places(&[list, ("sources/src/count.rs", SEQ)]), ["sources/src/count.rs"]);
    }

    #[test]
    fn an_output_is_listed_by_its_export() {
        let sources = ("sources/src/lib.rs", "");
        let files = ("outputs/src/files.rs", "struct Files;\nimpl Output for Files {}");
        assert_eq!(places(&[sources, files]), ["outputs/src/files.rs"]);
    }
}
