//! What every declaration of a component keeps to, whatever its kind; part of the contract of each kind.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests; the names of the cases are their claims")]

use millstream_core::{Error, Kind, OptionSpec, Options, Reaction, Result, Setting, Spec};

/// A component's declaration, with values for the options that must be given.
pub struct Declared<F> {
    name: &'static str,
    aliases: &'static [&'static str],
    options: &'static [OptionSpec],
    /// Key and value.
    given: Vec<(&'static str, String)>,
    build: F,
}

impl<F: Fn(&Options) -> Result<()>> Declared<F> {
    /// `given` are settings under which it can be built; `build` builds it and drops it.
    pub fn new<B>(spec: &Spec<B>, given: impl IntoIterator<Item = (&'static str, String)>, build: F) -> Self {
        let given = given.into_iter().collect();
        Self { name: spec.name, aliases: spec.aliases, options: spec.options, given, build }
    }

    /// Builds it from the required options and those of families alone, changed by `change`; gives the lines about keys that are not known.
    fn built(&self, change: impl FnOnce(&mut Vec<Setting>)) -> Result<Vec<String>> {
        // Whoever names parts of its own needs them to be described: those of a family go along.
        let required = |key: &str| {
            let mut options = self.options.iter();
            options.any(|option| option.is_called(key) && (option.required || option.family_prefix().is_some()))
        };
        let needed = self.given.iter().filter(|(key, _)| required(key));
        let mut settings = needed.map(|(key, value)| setting(key, value)).collect();
        change(&mut settings);
        let (options, unknown) = Options::parse(PLACE, self.options, &[], settings)?;
        (self.build)(&options).map(|()| unknown)
    }

    fn refused(&self, key: &str, value: &str) {
        let outcome = self.built(|settings| {
            settings.retain(|other| other.key != key);
            settings.push(setting(key, value));
        });
        let error = outcome.expect_err(&format!("{key} = {value:?} is accepted"));
        let text = error.to_string();
        assert!(text.starts_with(&setting(key, value).place) && text.contains(value), "{text}");
        stops(&error);
    }
}

/// The line of every setting.
const PLACE: &str = "flume.conf:7: a1";

fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.into(), value: value.into(), place: format!("{PLACE}.{key}") }
}

fn stops(error: &Error) {
    assert_eq!(error.reaction(), Reaction::Stop, "{error}");
}

pub fn it_is_called_by_its_name_in_any_case_and_by_flumes_class(declared: &Declared<impl Fn(&Options) -> Result<()>>) {
    let Declared { name, aliases, .. } = declared;
    let spec = Spec { name, aliases, summary: "", options: &[], build: () };
    assert!(spec.is_called(&name.to_uppercase()) && spec.is_called(name));
    assert!(aliases.iter().any(|alias| alias.starts_with("org.apache.")), "{aliases:?}");
    assert!(aliases.iter().all(|alias| spec.is_called(alias) && !spec.is_called(&alias.to_uppercase())));
}

pub fn what_must_be_given_is_enough_and_each_of_it_is_missed_by_its_key(
    declared: &Declared<impl Fn(&Options) -> Result<()>>,
) {
    assert_eq!(declared.built(|_| ()).unwrap(), [""; 0]);
    for required in declared.options.iter().filter(|option| option.required) {
        let error = declared.built(|settings| settings.retain(|other| other.key != required.key)).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("{PLACE}.{}: missing", required.key)), "{text}");
        assert!(text.contains(required.help), "{text}");
        stops(&error);
    }
}

pub fn a_key_that_nobody_knows_is_told_with_the_nearest_and_ignored(
    declared: &Declared<impl Fn(&Options) -> Result<()>>,
) {
    for option in declared.options {
        let misspelt = match option.family_prefix() {
            Some(prefix) => format!("{}s.1", prefix.trim_end_matches('.')),
            None => format!("{}s", option.key),
        };
        let unknown = declared.built(|settings| settings.push(setting(&misspelt, "1"))).unwrap();
        let [line] = unknown.as_slice() else { panic!("{unknown:?}") };
        assert!(line.starts_with(&format!("{PLACE}.{misspelt}: unknown key")), "{line}");
        assert!(line.contains("did you mean "), "{line}");
    }
}

pub fn every_default_may_be_written_down(declared: &Declared<impl Fn(&Options) -> Result<()>>) {
    for (key, default) in declared.options.iter().filter_map(|option| Some((option.key, option.default?))) {
        let outcome = declared.built(|settings| settings.push(setting(key, default)));
        assert_eq!(outcome.unwrap_or_else(|error| panic!("{key} = {default:?}: {error}")), [""; 0]);
    }
}

pub fn a_value_of_another_kind_is_refused_at_its_place(declared: &Declared<impl Fn(&Options) -> Result<()>>) {
    for option in declared.options {
        match option.kind {
            Kind::Int(low, high) => {
                let beyond = [low.checked_sub(1), high.checked_add(1)];
                beyond.into_iter().flatten().for_each(|value| declared.refused(option.key, &value.to_string()));
                declared.refused(option.key, "many");
            }
            Kind::Bytes | Kind::Millis | Kind::Seconds => {
                ["-1", "1.5", "soon"].into_iter().for_each(|value| declared.refused(option.key, value));
            }
            Kind::Port => ["0", "65536", "http"].into_iter().for_each(|value| declared.refused(option.key, value)),
            Kind::Bool => declared.refused(option.key, "perhaps"),
            Kind::Choice(_) => declared.refused(option.key, "neither"),
            Kind::Text | Kind::Path | Kind::Host | Kind::List => {}
        }
    }
}

/// Makes a test of every claim above; `$declared` gives a [`Declared`] each time. Part of each kind's contract.
#[doc(hidden)]
#[macro_export]
macro_rules! spec_contract {
    ($declared:expr) => {
        $crate::spec_contract!(@ $declared;
            it_is_called_by_its_name_in_any_case_and_by_flumes_class
            what_must_be_given_is_enough_and_each_of_it_is_missed_by_its_key
            a_key_that_nobody_knows_is_told_with_the_nearest_and_ignored
            every_default_may_be_written_down
            a_value_of_another_kind_is_refused_at_its_place
        );
    };
    (@ $declared:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::contract::spec::$case(&$declared);
            }
        )*
    };
}
