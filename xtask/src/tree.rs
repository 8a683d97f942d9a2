//! The files of the checkout, as text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every file that git knows or would add, by its path from the root; what is no text is there without content.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

// === impl Tree ===

impl Tree {
    /// The checkout that this program was built in.
    pub(crate) fn of_checkout() -> Result<Self, String> {
        let root = root();
        let list = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .map_err(|error| format!("git: {error}; tidy asks git which files belong to the tree"))?;
        if !list.status.success() {
            return Err(format!("git ls-files in {}: {}", root.display(), String::from_utf8_lossy(&list.stderr)));
        }
        let mut files = BTreeMap::new();
        for path in String::from_utf8_lossy(&list.stdout).split('\0').filter(|path| !path.is_empty()) {
            // A file that was deleted and is still in the index is not part of the tree.
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
            files.insert(path.to_owned(), String::from_utf8(bytes).unwrap_or_default());
        }
        Ok(Self { files })
    }

    /// The text of a file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is such a file, or a directory with files in it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty() || self.files.contains_key(path) || self.below(path).next().is_some()
    }

    /// Files whose path ends so, with their text.
    pub(crate) fn ending(&self, end: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .filter(move |(path, _)| path.ends_with(end))
    }

    /// Files below a directory, by their path from it.
    pub(crate) fn below(&self, dir: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{dir}/");
        let from = self.files.range(prefix.clone()..);
        from.map_while(move |(path, text)| Some((path.strip_prefix(&prefix)?, text.as_str())))
    }

    /// Modules that lie in a directory of sources: name, path, text.
    pub(crate) fn modules(&self, dir: &str) -> impl Iterator<Item = (&str, String, &str)> {
        let src = dir.to_owned();
        let files: Vec<_> = self.below(dir).collect();
        files.into_iter().filter_map(move |(path, text)| {
            let module = path.strip_suffix("/mod.rs").or(path.strip_suffix(".rs"))?;
            (!module.contains('/')).then(|| (module, format!("{src}/{path}"), text))
        })
    }

    /// Folders at the root.
    pub(crate) fn root_folders(&self) -> Vec<&str> {
        let mut folders: Vec<&str> = self
            .files
            .keys()
            .filter_map(|path| Some(path.split_once('/')?.0))
            .filter(|f| !f.starts_with('.'))
            .collect();
        folders.dedup();
        folders
    }

    /// A tree for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
