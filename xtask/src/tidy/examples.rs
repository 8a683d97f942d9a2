//! What the documents show works.
//!
//! A fenced block marked `properties` is a whole configuration that an agent takes as it is, as is every `.properties`
//! file in `examples/`. One marked `rust` stands word for word in a program of `examples/`, which is compiled.

use millstream_agent::Registry;
use millstream_config::{AgentConfig, Entry, Lookups, parse};
use millstream_core::{Options, Setting, Spec};

use super::Finding;
use crate::tree::Tree;

/// Reads every example as an agent would, without opening anything.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".md") {
        for (line, block) in blocks(text, "rust").filter(|(_, block)| !is_in_a_program(tree, block)) {
            let problem = format!("a block of {} lines that stands in no program of examples/", block.lines().count());
            findings.push(Finding::new(format_args!("{path}:{line}"), problem));
        }
        for (line, block) in blocks(text, "properties") {
            findings
                .extend(problems(&block).into_iter().map(|problem| Finding::new(format!("{path}:{line}"), problem)));
        }
    }
    let files = tree.ending(".properties").filter(|(path, _)| path.starts_with("examples/"));
    for (path, text) in files {
        findings.extend(problems(text).into_iter().map(|problem| Finding::new(path, problem)));
    }
    findings
}

/// Fenced blocks of one language, with the line at which each begins.
fn blocks<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = (usize, String)> + 'a {
    let mut lines = (1..).zip(text.lines());
    std::iter::from_fn(move || {
        let (start, _) = lines.find(|(_, line)| line.trim().strip_prefix("```") == Some(language))?;
        // One that is never closed is checked as far as it goes.
        let block = lines.by_ref().take_while(|(_, line)| line.trim() != "```");
        Some((start, block.fold(String::new(), |block, (_, line)| block + line + "\n")))
    })
}

/// Whether some program has these lines, one behind the other; how far they are indented does not count.
fn is_in_a_program(tree: &Tree, block: &str) -> bool {
    let wanted: Vec<&str> = block.lines().map(str::trim).collect();
    tree.ending(".rs").filter(|(path, _)| path.starts_with("examples/")).any(|(_, text)| {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        !wanted.is_empty() && lines.windows(wanted.len()).any(|window| window == wanted)
    })
}

fn problems(text: &str) -> Vec<String> {
    let entries = match parse("example", text.as_bytes()) {
        Ok(entries) => entries,
        Err(error) => return vec![error.to_string()],
    };
    let agents = agents(&entries);
    if agents.is_empty() {
        return vec!["names no agent: an example is a whole configuration".to_owned()];
    }
    let lookups = Lookups::of_process(Vec::<(String, String)>::new());
    agents
        .iter()
        .flat_map(|agent| match AgentConfig::from_entries(agent, &entries, &lookups) {
            Ok(config) => components(&config),
            Err(error) => vec![error.to_string()],
        })
        .collect()
}

/// Who has a list of channels.
fn agents(entries: &[Entry]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry.key.strip_suffix(".channels")).filter(|name| !name.contains('.')).collect()
}

fn components(config: &AgentConfig) -> Vec<String> {
    let registry = Registry::standard();
    let mut found = config.warnings.clone();
    for one in &config.sources {
        found.extend(typed(registry.sources(), &one.type_name, &one.type_place, &one.settings));
        found.extend(typed(
            registry.selectors(),
            &one.selector.type_name,
            &one.selector.type_place,
            &one.selector.settings,
        ));
        for part in &one.interceptors {
            found.extend(typed(registry.interceptors(), &part.type_name, &part.type_place, &part.settings));
        }
    }
    for one in &config.channels {
        found.extend(typed(registry.channels(), &one.type_name, &one.type_place, &one.settings));
    }
    for one in &config.sinks {
        found.extend(typed(registry.sinks(), &one.type_name, &one.type_place, &one.settings));
    }
    found
}

fn typed<B>(specs: &[&Spec<B>], type_name: &str, place: &str, settings: &[Setting]) -> Vec<String> {
    let Some(spec) = specs.iter().find(|spec| spec.is_called(type_name)) else {
        return vec![format!("{place}: no component is called {type_name:?}")];
    };
    match Options::parse(place, spec.options, &[], settings.iter().cloned()) {
        Ok((_, unknown)) => unknown,
        Err(error) => vec![error.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
";

    fn found(properties: &str) -> Vec<String> {
        let page = format!("# Page\n\n```properties\n{properties}```\n");
        check(&Tree::of(&[("README.md", &page)])).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_whole_agent_of_known_components_and_keys_is_fine() {
        assert_eq!(found(GOOD), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_key_value_or_type_is_found() {
        for (line, wanted) in [
            ("a1.sources.r1.batchSzie = 3", "batchSize"),
            ("a1.sources.r1.batchSize = many", "a whole number"),
            ("a1.sources.r1.type = kafka", "no component is called \"kafka\""),
            ("a1.sources.r1.channels = c2", "c2"),
        ] {
            let found = found(&format!("{GOOD}{line}\n"));
            assert!(found.iter().any(|problem| problem.contains(wanted)), "{line}: {found:?}");
            assert!(found[0].starts_with("README.md:3: "), "{found:?}");
        }
    }

    #[test]
    fn a_piece_of_a_program_is_one_that_is_compiled() {
        let program = ("examples/a.rs", "fn main() {\n    let a = 1;\n\n    print(a);\n}\n");
        let page = |code: &str| format!("```text\n```\n```rust\n{code}```\n");
        let found = |code: &str| check(&Tree::of(&[program, ("README.md", &page(code))])).len();
        assert_eq!(found("let a = 1;\n\nprint(a);\n"), 0);
        assert_eq!(found("let a = 1;\nprint(a);\n"), 1, "a line is missing");
        assert_eq!(found("let a = 2;\n"), 1);
        assert_eq!(found(""), 1);
    }

    #[test]
    fn a_fragment_and_a_file_among_the_examples_are_checked() {
        assert_eq!(found("a1.sources.r1.type = seq\n").len(), 1);
        let findings = check(&Tree::of(&[("examples/a.properties", "a1.channels = c1\n")]));
        assert!(!findings.is_empty());
    }
}
