//! Replaces every match of a pattern in the body.
//!
//! Pattern and replacement are those of Java's `String.replaceAll`: `$1` and `${name}` are groups of the pattern, a
//! backslash takes its meaning from the character behind it. A body without a match stays byte for byte; one with a match
//! is decoded and encoded again in the charset, what cannot be decoded as U+FFFD, what cannot be encoded as `?`.
//!
//! # Source
//! `org.apache.flume.interceptor.SearchAndReplaceInterceptor` (Flume 1.11).

use std::borrow::Cow;

use millstream_core::{Batch, Intercepted, Interceptor, InterceptorSpec, Kind, Options, Result, optional, required};

use millstream_config::{Pattern, Replacement};

/// The declaration.
pub static SPEC: InterceptorSpec = InterceptorSpec {
    name: "search_replace",
    aliases: &[
        "org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder",
        "org.apache.flume.interceptor.SearchAndReplaceInterceptor",
    ],
    summary: "Replaces what matches a pattern in the body.",
    options: &[
        required("searchPattern", Kind::Text, "Pattern of what is replaced."),
        optional("replaceString", Kind::Text, "", "What stands there instead; $1 is the first group."),
        optional("charset", Kind::Text, "UTF-8", "Charset of the bodies: UTF-8, US-ASCII or ISO-8859-1."),
    ],
    build: |options| Ok(Box::new(SearchReplace::from_options(options)?)),
};

/// Replaces.
#[derive(Debug)]
struct SearchReplace {
    pattern: Pattern,
    replacement: Replacement,
    charset: Charset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
}

// === impl SearchReplace ===

impl SearchReplace {
    fn from_options(options: &Options) -> Result<Self> {
        let pattern = Pattern::from_options(options, "searchPattern")?;
        let replacement = pattern.replacement(options, "replaceString")?;
        Ok(Self { pattern, replacement, charset: Charset::from_options(options)? })
    }
}

impl Interceptor for SearchReplace {
    fn intercept(&self, batch: Batch) -> Result<Intercepted> {
        let mut rewriter = batch.rewriter();
        while let Some(event) = rewriter.next() {
            let text = self.charset.decode(event.body());
            match self.pattern.replaced(&text, &self.replacement) {
                Some(text) => rewriter.set_body(&self.charset.encode(&text)),
                None => rewriter.keep(),
            }
        }
        Ok(Intercepted::kept(rewriter.finish()?))
    }
}

// === impl Charset ===

impl Charset {
    fn from_options(options: &Options) -> Result<Self> {
        let name = options.text("charset")?;
        match name.to_ascii_uppercase().as_str() {
            "UTF-8" | "UTF8" => Ok(Self::Utf8),
            "US-ASCII" | "ASCII" => Ok(Self::Ascii),
            "ISO-8859-1" | "ISO8859_1" | "LATIN1" => Ok(Self::Latin1),
            _ => Err(options.refuse("charset", format_args!("expected UTF-8, US-ASCII or ISO-8859-1, got {name:?}"))),
        }
    }

    fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            _ if bytes.is_ascii() => String::from_utf8_lossy(bytes),
            Self::Ascii => {
                let char = |&byte: &u8| if byte.is_ascii() { char::from(byte) } else { char::REPLACEMENT_CHARACTER };
                bytes.iter().map(char).collect()
            }
            Self::Latin1 => bytes.iter().map(|&byte| char::from(byte)).collect(),
        }
    }

    fn encode(self, text: &str) -> Cow<'_, [u8]> {
        let greatest = match self {
            Self::Utf8 => return Cow::Borrowed(text.as_bytes()),
            Self::Ascii => 0x7F,
            Self::Latin1 => 0xFF,
        };
        text.chars().map(|c| if u32::from(c) <= greatest { c as u8 } else { b'?' }).collect()
    }
}

#[cfg(test)]
mod tests {
    use millstream_testkit::contract::interceptor::Subject;
    use millstream_testkit::interceptor_contract;

    use super::*;
    use crate::tests::options;

    interceptor_contract!(Subject { spec: &SPEC, settings: &[("searchPattern", "nothing of that kind")] });

    fn replaced(settings: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let interceptor = SearchReplace::from_options(&options(&SPEC, settings).expect("options")).expect("built");
        let batch = interceptor.intercept(Batch::from_bodies([&b"other"[..], body])).expect("intercepted").batch;
        assert_eq!(batch.event(0).body(), b"other");
        batch.event(1).body().to_vec()
    }

    #[test]
    fn every_match_is_replaced_and_groups_are_filled_in() {
        let settings = [("searchPattern", "(\\d{4})-(\\d{2})"), ("replaceString", "$2/$1\\$")];
        assert_eq!(replaced(&settings, b"2014-03 and 2015-04"), b"03/2014$ and 04/2015$");
        assert_eq!(replaced(&[("searchPattern", "^[A-Z]+ ")], b"INFO started"), b"started", "nothing is the default");
    }

    #[test]
    fn bodies_are_read_and_written_in_their_charset() {
        let latin = [("searchPattern", "\u{e9}"), ("replaceString", "\u{e8}\u{20ac}"), ("charset", "ISO-8859-1")];
        assert_eq!(replaced(&latin, b"caf\xE9"), b"caf\xE8?");
        let ascii = [("searchPattern", "a"), ("replaceString", "b"), ("charset", "us-ascii")];
        assert_eq!(replaced(&ascii, b"a\xE9"), b"b?");
        assert_eq!(replaced(&ascii, b"x\xE9"), b"x\xE9", "without a match it stays byte for byte");
        assert_eq!(replaced(&[("searchPattern", "a")], b"a\xFF"), "\u{fffd}".as_bytes());
    }

    #[test]
    fn a_replacement_or_charset_that_is_none_is_refused_at_its_place() {
        for (key, value, problem) in [
            ("replaceString", "$2", "got \"$2\": at character 1: the pattern has 1 groups, not 2"),
            ("charset", "EBCDIC", "expected UTF-8, US-ASCII or ISO-8859-1, got \"EBCDIC\""),
        ] {
            let options = options(&SPEC, &[("searchPattern", "(a)"), (key, value)]).expect("options");
            let error = SearchReplace::from_options(&options).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("flume.conf:9: a1.sources.r1.interceptors.i1.{key}: ")), "{error}");
            assert!(error.ends_with(problem), "{error}");
        }
    }
}
