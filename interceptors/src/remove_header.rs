//! Takes headers away from events, by name, out of a list, or by a pattern.
//!
//! A pattern is one of Java's and must match the whole name.
//!
//! # Source
//! `org.apache.flume.interceptor.RemoveHeaderInterceptor` (Flume 1.11).

use std::collections::BTreeSet;

use millstream_core::{Batch, Intercepted, Interceptor, InterceptorSpec, Kind, Options, Result, optional, unset};

use millstream_config::Pattern;

/// The declaration.
pub static SPEC: InterceptorSpec = InterceptorSpec {
    name: "remove_header",
    aliases: &[
        "org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder",
        "org.apache.flume.interceptor.RemoveHeaderInterceptor",
    ],
    summary: "Removes headers by name, list or pattern.",
    options: &[
        unset("withName", Kind::Text, "Name of a header to remove."),
        unset("fromList", Kind::Text, "Names of headers to remove."),
        optional("fromListSeparator", Kind::Text, "\\s*,\\s*", "Pattern of what stands between the names."),
        unset("matching", Kind::Text, "Pattern of the names of headers to remove."),
    ],
    build: |options| Ok(Box::new(RemoveHeader::from_options(options)?)),
};

/// Removes headers.
#[derive(Debug)]
struct RemoveHeader {
    names: BTreeSet<String>,
    matching: Option<Pattern>,
}

// === impl RemoveHeader ===

impl RemoveHeader {
    fn from_options(options: &Options) -> Result<Self> {
        let mut names: BTreeSet<String> = options.find("withName").map(str::to_owned).into_iter().collect();
        let separator = Pattern::from_options(options, "fromListSeparator")?;
        if let Some(list) = options.find("fromList") {
            names.extend(separator.split(list).into_iter().map(str::to_owned));
        }
        let matching = match options.find("matching") {
            Some(_) => Some(Pattern::of_the_whole(options, "matching")?),
            None => None,
        };
        Ok(Self { names, matching })
    }

    fn removes(&self, key: &[u8]) -> bool {
        let key = String::from_utf8_lossy(key);
        self.names.contains(&*key) || self.matching.as_ref().is_some_and(|matching| matching.is_found(&key))
    }
}

impl Interceptor for RemoveHeader {
    fn intercept(&self, batch: Batch) -> Result<Intercepted> {
        let mut rewriter = batch.rewriter();
        while let Some(event) = rewriter.next() {
            match event.headers().any(|(key, _)| self.removes(key)) {
                true => rewriter.retain_headers(|key| !self.removes(key)),
                false => rewriter.keep(),
            }
        }
        Ok(Intercepted::kept(rewriter.finish()?))
    }
}

#[cfg(test)]
mod tests {
    use millstream_core::{CommonHeader, SlabBuilder};
    use millstream_testkit::contract::interceptor::Subject;
    use millstream_testkit::interceptor_contract;

    use super::*;
    use crate::tests::{headers, options};

    interceptor_contract!(Subject { spec: &SPEC, settings: &[("withName", "host")] });

    /// One event with `a`, `b`, `ab` and the common header `c`.
    fn left(settings: &[(&str, &str)]) -> String {
        let mut builder = SlabBuilder::new("ab".into());
        builder.header(0..1, 0..1);
        builder.header(1..2, 0..1);
        builder.header(0..2, 0..1);
        builder.row(0..2);
        let common = CommonHeader { key: "c".into(), value: "d".into(), keep_existing: false };
        let batch = builder.finish().with_common_header(common);
        let interceptor = (SPEC.build)(&options(&SPEC, settings).expect("options")).expect("built");
        headers(&interceptor.intercept(batch).expect("intercepted").batch).remove(0)
    }

    #[test]
    fn headers_go_by_name_list_and_pattern_of_the_whole_name() {
        assert_eq!(left(&[]), "a=a ab=a b=a c=d");
        assert_eq!(left(&[("withName", "a")]), "ab=a b=a c=d");
        assert_eq!(left(&[("fromList", "a , c")]), "ab=a b=a");
        assert_eq!(left(&[("fromList", "a;ab"), ("fromListSeparator", ";")]), "b=a c=d");
        assert_eq!(left(&[("matching", "a|b")]), "ab=a c=d", "the whole name");
        assert_eq!(left(&[("withName", "c"), ("fromList", "b"), ("matching", "ab?")]), "");
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_at_its_place() {
        let options = options(&SPEC, &[("matching", "a(")]).expect("options");
        let error = RemoveHeader::from_options(&options).expect_err("refused").to_string();
        let wanted = "flume.conf:9: a1.sources.r1.interceptors.i1.matching: expected a regular expression as Java has \
                      them, got \"a(\": at character 2: this ( is not closed";
        assert_eq!(error, wanted);
    }
}
