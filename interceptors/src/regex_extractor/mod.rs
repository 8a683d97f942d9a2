//! Puts the groups of a pattern into headers.
//!
//! The pattern is one of Java's and may match anywhere in the body; the first match counts. Its first group goes to the
//! first of the `serializers`, the second to the second, and so on: `serializers.<s>.name` is the header, and
//! `serializers.<s>.type` how the text becomes its value:
//!
//! | type | value |
//! |---|---|
//! | `DEFAULT`, `org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer` | the text itself |
//! | `org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer` | milliseconds since 1970 of the time that `serializers.<s>.pattern` reads, a pattern of Joda's in the local time zone |
//!
//! A group that took no part, and a text that is no time of the pattern, give no header; the latter is told at the 1st,
//! 2nd, 4th, … time.
//!
//! # Source
//! `org.apache.flume.interceptor.RegexExtractorInterceptor` (Flume 1.11).

mod joda;

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;
use millstream_core::{
    Batch, Intercepted, Interceptor, InterceptorSpec, Kind, Options, Result, Setting, family, required,
};

use joda::TimePattern;
use millstream_config::Pattern;

/// The declaration.
pub static SPEC: InterceptorSpec = InterceptorSpec {
    name: "regex_extractor",
    aliases: &[
        "org.apache.flume.interceptor.RegexExtractorInterceptor$Builder",
        "org.apache.flume.interceptor.RegexExtractorInterceptor",
    ],
    summary: "Adds headers with the groups of a pattern that matches the body.",
    options: &[
        required("regex", Kind::Text, "Pattern with a group for each header."),
        required("serializers", Kind::List, "Names of the serializers, one for each group."),
        family("serializers.*", Kind::Text, "type, name and pattern of each serializer, under its name and a dot."),
    ],
    build: |options| Ok(Box::new(RegexExtractor::from_options(options)?)),
};

/// Adds headers.
#[derive(Debug)]
struct RegexExtractor {
    pattern: Pattern,
    /// In the order of the groups.
    serializers: Vec<Serializer>,
    /// Texts that were no times.
    unreadable: AtomicU64,
}

/// What becomes of one group.
#[derive(Debug)]
struct Serializer {
    header: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    AsIs,
    Millis(TimePattern),
}

// === impl RegexExtractor ===

impl RegexExtractor {
    fn from_options(options: &Options) -> Result<Self> {
        let pattern = Pattern::from_options(options, "regex")?;
        let names = options.list("serializers");
        if names.is_empty() {
            return Err(options.refuse("serializers", "expected the names of serializers, got none"));
        }
        check_keys(options, &names)?;
        let serializers =
            names.iter().map(|name| Serializer::from_options(options, name)).collect::<Result<Vec<_>>>()?;
        if pattern.group_count() < serializers.len() {
            let (groups, given) = (pattern.group_count(), serializers.len());
            tracing::warn!(groups, given, "the pattern has fewer groups than there are serializers");
        }
        Ok(Self { pattern, serializers, unreadable: AtomicU64::new(0) })
    }

    /// The value of a group's header.
    fn value(&self, serializer: &Serializer, text: &str) -> Option<String> {
        match &serializer.form {
            Form::AsIs => Some(text.to_owned()),
            Form::Millis(pattern) => {
                let millis = pattern.millis(text);
                if millis.is_none() {
                    self.tell_unreadable(serializer, pattern, text);
                }
                millis.map(|millis| millis.to_string())
            }
        }
    }

    fn tell_unreadable(&self, serializer: &Serializer, pattern: &TimePattern, text: &str) {
        let times = self.unreadable.fetch_add(1, Ordering::Relaxed) + 1;
        if times.is_power_of_two() {
            let (header, pattern) = (&serializer.header, pattern.text());
            tracing::warn!(header, text, pattern, times, "a text is no time of the pattern, the event gets no header");
        }
    }
}

impl Interceptor for RegexExtractor {
    fn intercept(&self, batch: Batch) -> Result<Intercepted> {
        let mut rewriter = batch.rewriter();
        while let Some(event) = rewriter.next() {
            let body = String::from_utf8_lossy(event.body());
            let Some(found) = self.pattern.first(&body) else {
                rewriter.keep();
                continue;
            };
            let texts = (1..=self.pattern.group_count()).map(|group| found.get(group).map(|text| text.as_str()));
            let values: Vec<(&str, String)> = (self.serializers.iter().zip(texts))
                .filter_map(|(serializer, text)| Some((serializer.header.as_str(), self.value(serializer, text?)?)))
                .collect();
            let headers: Vec<(&[u8], &[u8])> =
                values.iter().map(|(header, value)| (header.as_bytes(), value.as_bytes())).collect();
            match headers.is_empty() {
                true => rewriter.keep(),
                false => rewriter.set_headers(&headers),
            }
        }
        Ok(Intercepted::kept(rewriter.finish()?))
    }
}

// === impl Serializer ===

impl Serializer {
    fn from_options(options: &Options, name: &str) -> Result<Self> {
        let prefix = format!("serializers.{name}.");
        let find = |key: &str| options.under(&prefix).find(|setting| setting.key == key);
        let missing =
            |key: &str, what: &str| options.refuse(&format!("{prefix}{key}"), format_args!("missing; expected {what}"));
        let header = find("name").ok_or_else(|| missing("name", "the name of a header"))?.value;
        let form = match find("type") {
            None => Form::AsIs,
            Some(given) if given.value.eq_ignore_ascii_case("DEFAULT") || given.value == PASS_THROUGH => Form::AsIs,
            Some(given) if given.value == MILLIS => {
                let pattern = find("pattern").ok_or_else(|| missing("pattern", "how the time is written"))?;
                Form::Millis(time_pattern(&pattern)?)
            }
            Some(Setting { value, place, .. }) => {
                let problem = format!("expected DEFAULT, {PASS_THROUGH} or {MILLIS}, got {value:?}");
                return Err(millstream_core::Error::config(place, problem));
            }
        };
        Ok(Self { header, form })
    }
}

// === helpers ===

fn time_pattern(setting: &Setting) -> Result<TimePattern> {
    TimePattern::parse(&setting.value, TimeZone::system()).map_err(|problem| {
        let value = &setting.value;
        millstream_core::Error::config(&setting.place, format!("expected a pattern of times, got {value:?}: {problem}"))
    })
}

/// Keys of serializers that nobody knows are told as any other would be.
fn check_keys(options: &Options, names: &[&str]) -> Result<()> {
    for setting in options.under("serializers.") {
        let known = setting
            .key
            .split_once('.')
            .is_some_and(|(name, key)| names.contains(&name) && ["type", "name", "pattern"].contains(&key));
        if !known {
            options.tell_unknown(&setting.place, &format!("expected type, name or pattern of one of {names:?}"));
        }
    }
    Ok(())
}

const PASS_THROUGH: &str = "org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer";
const MILLIS: &str = "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer";

#[cfg(test)]
mod tests;
