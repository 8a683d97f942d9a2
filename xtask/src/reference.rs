//! The reference pages: one per component, from its declaration and the documentation of its module.

use std::collections::BTreeMap;
use std::fmt::Write;

use millstream_agent::Registry;
use millstream_agent::differences::areas;
use millstream_core::{OptionSpec, Spec};

use crate::compat;
use crate::tree::{Tree, root};

/// Where the pages lie.
pub(crate) const DIR: &str = "docs/components";

/// Writes the pages that are not as they should be, and removes those of no component.
pub(crate) fn write(tree: &Tree) -> Result<bool, String> {
    let pages = pages(tree);
    for (path, text) in &pages {
        if tree.text(path) == Some(text) {
            continue;
        }
        let file = root().join(path);
        let dir = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        dir.and_then(|()| std::fs::write(&file, text)).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("wrote {path}");
    }
    for (path, _) in tree.below(DIR) {
        let path = format!("{DIR}/{path}");
        if !pages.contains_key(&path) {
            std::fs::remove_file(root().join(&path)).map_err(|error| format!("{path}: {error}"))?;
            println!("removed {path}");
        }
    }
    Ok(true)
}

/// Every page, by its path.
pub(crate) fn pages(tree: &Tree) -> BTreeMap<String, String> {
    let registry = Registry::standard();
    let mut pages = Pages { tree, pages: BTreeMap::new(), index: format!("# Components\n\n{GENERATED}\n") };
    pages.add("sources", "sources/src", registry.sources());
    pages.add("interceptors", "interceptors/src", registry.interceptors());
    pages.add("selectors", "selectors/src", registry.selectors());
    pages.add("channels", "channels/src", registry.channels());
    pages.add("sinks", "sinks/src", registry.sinks());
    pages.add("sinkgroups", "sinks/src/group", registry.groups());
    pages.add_outputs();
    pages.pages.insert(format!("{DIR}/README.md"), pages.index);
    pages.pages.insert(compat::PAGE.to_owned(), compat::page(tree, areas()));
    pages.pages
}

struct Pages<'a> {
    tree: &'a Tree,
    pages: BTreeMap<String, String>,
    index: String,
}

impl Pages<'_> {
    fn add<B>(&mut self, kind: &str, dir: &str, specs: &[&Spec<B>]) {
        let _ = write!(self.index, "\n## {}\n\n| type | |\n|---|---|\n", capitalised(kind));
        for spec in specs {
            let _ = writeln!(self.index, "| [{0}]({kind}/{0}.md) | {1} |", spec.name, cell(spec.summary));
            let docs = Docs::of(self.tree, dir, spec.name);
            let page = page(spec.name, spec.aliases, spec.summary, spec.options, &docs);
            self.pages.insert(format!("{DIR}/{kind}/{}.md", spec.name), page);
        }
    }

    /// Outputs are made in a program and have no declaration: their pages are the documentation of their modules.
    fn add_outputs(&mut self) {
        self.index
            .push_str("\n## Outputs\n\nMade in a program, and handed to its stream.\n\n| output | |\n|---|---|\n");
        for (name, _, text) in
            self.tree.modules("outputs/src").filter(|(_, _, text)| text.contains("\nimpl Output for "))
        {
            let docs = Docs::read(text);
            let _ = writeln!(self.index, "| [{name}](outputs/{name}.md) | {} |", cell(&docs.summary));
            let page = format!("# {name}\n\n{GENERATED}\n\n{}\n{}", docs.summary, docs.rest);
            self.pages.insert(format!("{DIR}/outputs/{name}.md"), page);
        }
    }
}

fn page(name: &str, aliases: &[&str], summary: &str, options: &[OptionSpec], docs: &Docs) -> String {
    let mut page = format!("# {name}\n\n{GENERATED}\n\n{summary}\n\n");
    let _ = writeln!(page, "`type`: {}", code_list([name].iter().chain(aliases)));
    page.push_str("\n## Options\n\n");
    if options.is_empty() {
        page.push_str("None.\n");
    } else {
        page.push_str("| key | default | value | |\n|---|---|---|---|\n");
    }
    for option in options {
        let default = match option.default {
            Some("") => "empty".to_owned(),
            Some(value) => format!("`{}`", cell(value)),
            None if option.required => "**required**".to_owned(),
            None => "none".to_owned(),
        };
        let (value, help) = (cell(&option.kind.expected()), cell(option.help));
        let _ = writeln!(page, "| `{}` | {default} | {value} | {help} |", option.key);
    }
    page.push_str(&docs.rest);
    page
}

/// What a module's documentation says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Docs {
    /// Its first paragraph, on one line.
    summary: String,
    /// The paragraphs and sections behind it, as Markdown, with a blank line before.
    rest: String,
}

impl Docs {
    fn of(tree: &Tree, dir: &str, name: &str) -> Self {
        let module = tree.modules(dir).find(|(module, ..)| *module == name);
        module.map(|(_, _, text)| Self::read(text)).unwrap_or_default()
    }

    fn read(source: &str) -> Self {
        let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
        let lines: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        let end = lines.iter().position(|line| line.is_empty()).unwrap_or(lines.len());
        let mut docs = Self { summary: unlinked(&lines[..end].join(" ")), rest: String::new() };
        let mut in_intro = true;
        let mut fenced = false;
        for line in lines[end..].iter().filter(|line| !is_definition(line)) {
            fenced ^= line.starts_with("```");
            let heading = !fenced && line.starts_with("# ");
            if in_intro && !heading && !line.is_empty() && docs.rest.trim().is_empty() {
                docs.rest.push_str("## What it does\n\n");
            }
            in_intro &= !heading;
            // Its title is the page's first heading, so its sections are one level deeper.
            let deeper = if heading { "#" } else { "" };
            let _ = writeln!(docs.rest, "{deeper}{}", unlinked(line));
        }
        // Definitions of links leave blank lines behind.
        let kept = docs.rest.trim();
        docs.rest = if kept.is_empty() { String::new() } else { format!("\n{kept}\n") };
        docs
    }
}

/// Whether the line says where a link leads: ``[`name`]: path``.
fn is_definition(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// Links to code are code alone: ``[`name`](path)`` and ``[`name`]`` become `` `name` ``.
fn unlinked(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, behind)) = after.split_once("`]") else { break };
        let _ = write!(out, "{before}`{name}`");
        let target = behind.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(behind, |(_, behind)| behind);
    }
    out + rest
}

fn code_list<'a>(names: impl Iterator<Item = &'a &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

const GENERATED: &str = "<!-- Written by `cargo xtask docs`: change the declaration, not this page. -->";

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
//! Ticks, as [`Clock`] does.
//!
//! Again and again.
//!
//! # Delivery
//! See [`wire`](x::y) and [`wire`].
//!
//! [`wire`]: millstream_wire

use x;
//! not documentation
";

    #[test]
    fn documentation_becomes_sections_and_links_to_code_become_code() {
        let wanted = Docs {
            summary: "Ticks, as `Clock` does.".into(),
            rest: "\n## What it does\n\nAgain and again.\n\n## Delivery\nSee `wire` and `wire`.\n".into(),
        };
        assert_eq!(Docs::read(SOURCE), wanted);
        assert_eq!(Docs::read("use x;"), Docs::default());
    }

    #[test]
    fn every_option_of_a_component_is_on_its_page() {
        let pages = pages(&Tree::default());
        let page = &pages["docs/components/sources/spooldir.md"];
        assert!(page.contains("| `spoolDir` | **required** | a path | The directory; must exist and be writable. |"));
        let options =
            Registry::standard().sources().iter().find(|spec| spec.name == "spooldir").map(|s| s.options.len());
        assert_eq!(Some(page.lines().filter(|line| line.starts_with("| `")).count()), options);
        assert!(pages["docs/components/README.md"].contains("(sources/spooldir.md)"));
    }
}
