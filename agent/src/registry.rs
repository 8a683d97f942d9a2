//! The components that a configuration may name.

use millstream_core::options::nearest;
use millstream_core::{
    ChannelSpec, Error, GroupSpec, InterceptorSpec, Result, SelectorSpec, SinkSpec, SourceSpec, Spec,
};

/// Declarations by kind. A value: a program extends a copy of the standard one.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    sources: Vec<&'static SourceSpec>,
    interceptors: Vec<&'static InterceptorSpec>,
    selectors: Vec<&'static SelectorSpec>,
    channels: Vec<&'static ChannelSpec>,
    sinks: Vec<&'static SinkSpec>,
    groups: Vec<&'static GroupSpec>,
}

/// What can be registered: the declarations of the six kinds.
pub trait Register {
    /// Adds itself to its kind.
    fn add_to(&'static self, registry: &mut Registry);
}

// === impl Registry ===

impl Registry {
    /// Knows nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Knows every component that comes with Millstream.
    pub fn standard() -> Self {
        Self {
            sources: millstream_sources::SOURCES.to_vec(),
            interceptors: millstream_interceptors::INTERCEPTORS.to_vec(),
            selectors: millstream_selectors::SELECTORS.to_vec(),
            channels: millstream_channels::CHANNELS.to_vec(),
            sinks: millstream_sinks::SINKS.to_vec(),
            groups: millstream_sinks::group::GROUPS.to_vec(),
        }
    }

    /// Adds a component; its names win over those of earlier ones.
    pub fn register(&mut self, spec: &'static impl Register) {
        spec.add_to(self);
    }

    /// The sources, standard ones first.
    pub fn sources(&self) -> &[&'static SourceSpec] {
        &self.sources
    }

    /// The interceptors.
    pub fn interceptors(&self) -> &[&'static InterceptorSpec] {
        &self.interceptors
    }

    /// The selectors.
    pub fn selectors(&self) -> &[&'static SelectorSpec] {
        &self.selectors
    }

    /// The channels.
    pub fn channels(&self) -> &[&'static ChannelSpec] {
        &self.channels
    }

    /// The sinks.
    pub fn sinks(&self) -> &[&'static SinkSpec] {
        &self.sinks
    }

    /// The sink processors.
    pub fn groups(&self) -> &[&'static GroupSpec] {
        &self.groups
    }
}

/// The declaration that `type_name` means.
///
/// # Errors
/// `Config` at `place`, with the nearest name, or all of them.
pub(crate) fn find<B>(
    specs: &[&'static Spec<B>],
    kind: &str,
    type_name: &str,
    place: &str,
) -> Result<&'static Spec<B>> {
    if let Some(spec) = specs.iter().rev().find(|spec| spec.is_called(type_name)) {
        return Ok(spec);
    }
    let names = || specs.iter().map(|spec| spec.name);
    if is_of_flume(kind, type_name) {
        let there_are = names().collect::<Vec<_>>().join(", ");
        return Err(Error::config(
            place,
            format!("Flume's {kind} {type_name:?} is not built in; there are {there_are}"),
        ));
    }
    let aliases = specs.iter().flat_map(|spec| spec.aliases.iter().copied());
    let hint = match nearest(type_name, names().chain(aliases)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(Error::config(place, format!("there is no {kind} of type {type_name:?}; {hint}")))
}

/// Whether Flume has such a component, and it is not here.
fn is_of_flume(kind: &str, type_name: &str) -> bool {
    let classes = NOT_BUILT.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, classes)| classes);
    classes.iter().any(|(alias, class)| {
        let is_alias = !alias.is_empty() && alias.eq_ignore_ascii_case(type_name);
        is_alias || type_name.strip_prefix("org.apache.flume.") == Some(class)
    })
}

/// Components of Flume that are not built in, by kind: alias, if there is one, and class.
const NOT_BUILT: &[(&str, &[(&str, &str)])] = &[
    (
        "source",
        &[
            ("jms", "source.jms.JMSSource"),
            ("", "source.kafka.KafkaSource"),
            ("", "source.scribe.ScribeSource"),
            ("", "source.twitter.TwitterSource"),
            ("", "source.avroLegacy.AvroLegacySource"),
            ("", "source.thriftLegacy.ThriftLegacySource"),
        ],
    ),
    ("interceptor", &[("", "sink.solr.morphline.MorphlineInterceptor$Builder")]),
    (
        "channel",
        &[
            ("jdbc", "channel.jdbc.JdbcChannel"),
            ("", "channel.kafka.KafkaChannel"),
            ("", "channel.PseudoTxnMemoryChannel"),
        ],
    ),
    (
        "sink",
        &[
            ("irc", "sink.irc.IRCSink"),
            ("http", "sink.http.HttpSink"),
            ("", "sink.kafka.KafkaSink"),
            ("hbase", "sink.hbase.HBaseSink"),
            ("asynchbase", "sink.hbase.AsyncHBaseSink"),
            ("hbase2", "sink.hbase2.HBase2Sink"),
            ("hive", "sink.hive.HiveSink"),
            ("", "sink.kudu.KuduSink"),
            ("morphline_solr", "sink.solr.morphline.MorphlineSolrSink"),
            ("elasticsearch", "sink.elasticsearch.ElasticSearchSink"),
            ("", "sink.kite.DatasetSink"),
        ],
    ),
];

macro_rules! registers {
    ($($spec:ty => $list:ident),* $(,)?) => {$(
        impl Register for $spec {
            fn add_to(&'static self, registry: &mut Registry) {
                registry.$list.push(self);
            }
        }
    )*};
}

registers! {
    SourceSpec => sources,
    InterceptorSpec => interceptors,
    SelectorSpec => selectors,
    ChannelSpec => channels,
    SinkSpec => sinks,
    GroupSpec => groups,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_core::BuiltSink;

    static MY_NULL: SinkSpec = SinkSpec {
        name: "null",
        aliases: &["mine"],
        summary: "Takes the place of the standard one.",
        options: &[],
        build: |_| Err::<BuiltSink, _>(Error::config("here", "not built")),
    };

    fn sink(registry: &Registry, type_name: &str) -> Result<&'static SinkSpec> {
        find(registry.sinks(), "sink", type_name, "flume.conf:3: a1.sinks.k1.type")
    }

    #[test]
    fn a_component_is_found_by_name_in_any_case_and_by_its_class() {
        let registry = Registry::standard();
        for name in ["logger", "LOGGER", "org.apache.flume.sink.LoggerSink"] {
            assert_eq!(sink(&registry, name).unwrap().name, "logger");
        }
    }

    #[test]
    fn an_unknown_type_names_the_nearest_or_all() {
        let registry = Registry::standard();
        let error = sink(&registry, "loger").unwrap_err().to_string();
        let wanted = "flume.conf:3: a1.sinks.k1.type: there is no sink of type \"loger\"; did you mean logger?";
        assert_eq!(error, wanted);
        let error = sink(&registry, "carrier_pigeon").unwrap_err().to_string();
        let all: Vec<&str> = registry.sinks().iter().map(|spec| spec.name).collect();
        assert!(all.contains(&"logger") && error.ends_with(&format!("there are {}", all.join(", "))), "{error}");
    }

    #[test]
    fn a_program_adds_its_own_and_replaces_standard_ones() {
        let mut registry = Registry::standard();
        registry.register(&MY_NULL);
        assert!(std::ptr::eq(sink(&registry, "mine").unwrap(), &MY_NULL));
        assert!(std::ptr::eq(sink(&registry, "Null").unwrap(), &MY_NULL));
        assert!(sink(&Registry::standard(), "mine").is_err());
    }
}
